"""The base image: a Debian or Ubuntu that boots, without anything of this machine in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from enos_crdb.command import Runner
from enos_crdb.errors import CommandError, ProviderError
from enos_crdb.providers.nspawn import settings
from enos_crdb.providers.nspawn.layers import Cache
from enos_crdb.providers.nspawn.network import locked
from enos_crdb.providers.nspawn.suite import Source, is_ubuntu

RECIPE = 4
"""Part of the image's name: raise it when what is done to the image changes."""

PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,python3-venv,sudo,iproute2,iputils-ping,"
    "ca-certificates,procps,locales"
)

# What would otherwise run, download or wait at a host's boot.
_MASKED = """
apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service
getty@.service console-getty.service systemd-networkd.service systemd-networkd-wait-online.service
systemd-resolved.service systemd-timesyncd.service systemd-firstboot.service ssh.socket
sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount tmp.mount
"""

_DPKG = """\
force-unsafe-io
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
"""


_CERTIFICATES = "tmp/ca-certificates.crt"

_KILLED_WITH_US = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--mount-proc", "--kill-child"]
"""Whatever ends this process ends the command and its mounts: nothing is left in a half-built image."""


def image_name(suite: str) -> str:
    """Directory name of the base image: the suite and a digest of how it is made."""
    recipe = "\n".join([str(RECIPE), suite, os.uname().machine, PACKAGES, _MASKED, _DPKG])
    return f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:10]}"


def ensure(
    runner: Runner, cache: Cache, *, suite: str, sources: Sequence[Source], notify: Callable[[str], None]
) -> Path:
    """The base image of `suite`, built when it is not there; two processes build it once.

    Raises `ProviderError` when the packages cannot be had.
    """
    image = cache.image(image_name(suite))
    if image.is_dir():
        return image
    lock = image.parent / f".{suite}.lock"
    with locked(lock, waiting=lambda: notify(f"waiting for another run, which builds the base image of {suite}")):
        if image.is_dir():
            return image
        # Under the lock, what is left of an earlier attempt belongs to nobody.
        for old in image.parent.glob(f".building-{suite}-*"):
            shutil.rmtree(old, ignore_errors=True)
        building = image.parent / f".building-{image.name}"
        started = time.monotonic()
        try:
            _build(runner, building, suite=suite, sources=sources, notify=notify)
            building.rename(image)
        except CommandError as error:
            raise ProviderError(_failure(error, suite, sources)) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        notify(f"base image of {suite} built in {time.monotonic() - started:.0f} s")
    return image


def _build(
    runner: Runner, target: Path, *, suite: str, sources: Sequence[Source], notify: Callable[[str], None]
) -> None:
    main = next(source for source in sources if source.suite == suite)
    notify(f"building the base image of {suite}, once on this machine: step 1 of 2, essential packages")
    # debootstrap takes one package after the other: the less it does, the faster. apt does the rest.
    options = ["--variant=minbase", *(["--no-check-gpg"] if main.trusted else [])]
    _run(runner, ["debootstrap", *options, suite, str(target), main.uri, *_script(suite)], env=_proxy(runner))
    (target / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True, exist_ok=True)
    (target / "etc/dpkg/dpkg.cfg.d/90enos_crdb").write_text(_DPKG)
    notify(f"building the base image of {suite}: step 2 of 2, {PACKAGES.count(',') + 1} packages with apt")
    with _building_files(runner, target, sources):
        environment = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        # Mirrors may speak https before the image has certificates of its own.
        apt = ["chroot", str(target), "apt-get", "--option", f"Acquire::https::CAInfo=/{_CERTIFICATES}"]
        _run(runner, [*apt, "update"], env=environment)
        install = ["install", "--yes", "--no-install-recommends", *PACKAGES.split(",")]
        _run(runner, [*apt, *install], env=environment)
    _configure(target)


def _script(suite: str) -> list[str]:
    """debootstrap's instructions, when the suite is younger than this machine's debootstrap."""
    scripts = Path("/usr/share/debootstrap/scripts")
    if (scripts / suite).exists():
        return []
    return [str(scripts / ("gutsy" if is_ubuntu(suite) else "sid"))]


def _run(runner: Runner, command: Sequence[str], *, env: Mapping[str, str]) -> None:
    runner.run([*_KILLED_WITH_US, *command], env=env)


@contextmanager
def _building_files(runner: Runner, target: Path, sources: Sequence[Source]) -> Iterator[None]:
    """This machine's settings in the image while apt works there, and gone afterwards."""
    here = "127.0.0.1"
    files = [
        *settings.apt_files(runner, sources=sources, gateway=here),
        settings.HostFile(path=_CERTIFICATES, content=_read(Path(settings.BUNDLE))),
        settings.HostFile(path="usr/sbin/policy-rc.d", content="#!/bin/sh\nexit 101\n", mode=0o755),
        settings.HostFile(path="etc/resolv.conf", content=_read(Path("/etc/resolv.conf"))),
    ]
    settings.write_files(target, files)
    yield
    for file in files:
        (target / file.path).unlink()


def _read(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _proxy(runner: Runner) -> dict[str, str]:
    """apt's proxy for debootstrap, which does not read apt's settings."""
    if "http_proxy" in os.environ or shutil.which("apt-config") is None:
        return {}
    shown = runner.run(["apt-config", "shell", "proxy", "Acquire::http::Proxy"], check=False).stdout
    value = shown.strip().removeprefix("proxy=").strip("'\"")
    return {"http_proxy": value} if value.startswith("http") else {}


def _failure(error: CommandError, suite: str, sources: Sequence[Source]) -> str:
    archives = ", ".join(sorted({source.uri.rpartition("@")[2] for source in sources}))
    tail = "\n".join((error.stdout + error.stderr).strip().splitlines()[-15:])
    return (
        f"The base image of {suite} could not be built from {archives}:\n{tail}\n"
        "Usually the archive cannot be reached or lacks the suite: see whether `apt-get update` works on this "
        "machine, or name another archive with nspawn.mirror."
    )


def _configure(image: Path) -> None:
    """What every host shares and no setting of this machine changes."""
    for unit in _MASKED.split():
        link = image / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    # Ubuntu starts sshd at the first connection; here it is what tells that a host is ready.
    shutil.rmtree(image / "etc/systemd/system/ssh.service.requires", ignore_errors=True)
    wanted = image / "etc/systemd/system/multi-user.target.wants/ssh.service"
    wanted.parent.mkdir(exist_ok=True)
    wanted.unlink(missing_ok=True)
    wanted.symlink_to("/lib/systemd/system/ssh.service")
    for key in (image / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for section in range(1, 9):
        # postgresql's alternatives are linked there, and fail without the directory.
        (image / f"usr/share/man/man{section}").mkdir(parents=True, exist_ok=True)
    # apt's lists stay: their age is how Ansible's apt module tells that they need not be fetched again.
    (image / "etc/machine-id").write_text("")
    (image / "etc/default/locale").write_text("LANG=C.UTF-8\n")
    for area in ("etc", "var"):
        # Newer than /usr: nothing is to be brought up to date at a boot.
        (image / area / ".updated").touch()
    for archive in (image / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
    for name in ("etc/hostname", "etc/apt/sources.list", "var/lib/dbus/machine-id"):
        (image / name).unlink(missing_ok=True)
