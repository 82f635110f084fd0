"""The cache: base images, prepared layers, downloaded packages."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from enos_crdb.command import Runner
from enos_crdb.errors import CommandError, PrerequisiteError, ProviderError
from enos_crdb.providers.nspawn.network import locked
from enos_crdb.providers.nspawn.suite import Source, is_ubuntu

RECIPE = 1
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

# What makes a host that host, or is of no use to another one.
_NOT_IN_LAYER = """
etc/hostname etc/machine-id etc/hosts etc/resolv.conf etc/environment etc/pip.conf etc/uv
etc/apt/sources.list etc/apt/apt.conf.d/90enos_crdb etc/apt/auth.conf etc/apt/auth.conf.d
etc/ssh/ssh_host_ed25519_key etc/ssh/ssh_host_ed25519_key.pub etc/ssh/sshd_config.d/00-enos_crdb.conf
root/.ssh root/.ansible root/.bash_history root/.cache
var/lib/dbus/machine-id var/lib/systemd/random-seed var/lib/private/systemd var/cache/apt
tmp var/tmp run dev proc sys
"""


@dataclass(frozen=True)
class Cache:
    """What is kept between deployments, below ``directory``: ``images``, ``layers``, ``apt``."""

    directory: Path

    def image(self, name: str) -> Path:
        return self.directory / "images" / name

    def layer(self, image: str, key: str) -> Path:
        # A layer is a difference to its image, and wrong on any other.
        return self.directory / "layers" / image / key

    def packages(self, suite: str) -> Path:
        return self.directory / "apt" / suite


def image_name(suite: str) -> str:
    """Directory name of the base image: the suite and a digest of how it is made."""
    recipe = "\n".join([str(RECIPE), suite, os.uname().machine, PACKAGES, _MASKED, _DPKG])
    return f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:10]}"


def ensure(
    runner: Runner, cache: Cache, *, suite: str, sources: Iterable[Source], notify: Callable[[str], None]
) -> Path:
    """The base image of `suite`, built when it is not there; two processes build it once.

    Raises `ProviderError` when the packages cannot be had.
    """
    image = cache.image(image_name(suite))
    if image.is_dir():
        return image
    with locked(image.parent / f".{suite}.lock"):
        if image.is_dir():
            return image
        # Under the lock, what is left of an earlier attempt belongs to nobody.
        building = image.parent / f".building-{image.name}"
        shutil.rmtree(building, ignore_errors=True)
        main = next(source for source in sources if source.suite == suite)
        notify(f"building the base image of {suite} (once on this machine, about a minute)")
        try:
            seconds = _bootstrap(runner, building, suite=suite, source=main)
            _configure(building)
            building.rename(image)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        notify(f"base image of {suite} built in {seconds:.0f} s")
    return image


def _bootstrap(runner: Runner, target: Path, *, suite: str, source: Source) -> float:
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}"]
    if is_ubuntu(suite):
        command.append("--components=main,universe")
    if source.trusted:
        command.append("--no-check-gpg")
    try:
        return runner.run([*command, suite, str(target), source.uri]).seconds
    except CommandError as error:
        log = target / "debootstrap/debootstrap.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else str(error)
        raise ProviderError(
            f"The base image of {suite} could not be built from {source.uri.rpartition('@')[2]}:\n{tail}\n"
            "Usually the mirror cannot be reached or lacks the suite: try `apt-get update`, or name another "
            "one with nspawn.mirror."
        ) from error


def _configure(image: Path) -> None:
    """What every host shares and no setting of this machine changes."""
    for unit in _MASKED.split():
        link = image / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for key in (image / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for section in range(1, 9):
        # postgresql's alternatives are linked there, and fail without the directory.
        (image / f"usr/share/man/man{section}").mkdir(parents=True, exist_ok=True)
    (image / "etc/dpkg/dpkg.cfg.d/90enos_crdb").write_text(_DPKG)
    (image / "etc/machine-id").write_text("")
    (image / "etc/default/locale").write_text("LANG=C.UTF-8\n")
    for area in ("etc", "var"):
        # Newer than /usr: nothing is to be brought up to date at a boot.
        (image / area / ".updated").touch()
    for archive in (image / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
    for name in ("etc/resolv.conf", "etc/hostname", "var/lib/dbus/machine-id"):
        (image / name).unlink(missing_ok=True)


def holds_overlay(runner: Runner, directory: Path) -> bool:
    """Can a file system be stacked with its upper layer in `directory`? (Not on another overlay, or NFS.)"""
    probe = directory / f".probe-{os.getpid()}"
    for name in ("lower", "upper", "work", "merged"):
        (probe / name).mkdir(parents=True)
    options = "lowerdir=lower,upperdir=upper,workdir=work"
    try:
        done = runner.run(["mount", "-t", "overlay", "overlay", "-o", options, "merged"], cwd=probe, check=False)
        if done.returncode == 0:
            runner.run(["umount", str(probe / "merged")])
        return done.returncode == 0
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def seed_packages(cache: Cache, suite: str, tree: Path) -> None:
    """Make `tree` a layer in which apt finds what earlier hosts downloaded (hard links: no copy).

    A snapshot, because a directory must not change below a mounted overlay.
    """
    archives = tree / "var/cache/apt/archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    for package in cache.packages(suite).glob("*.deb"):
        try:
            os.link(package, archives / package.name)
        except OSError:  # another file system, or an image of the same name
            shutil.copy2(package, archives / package.name)
    for directory, _, _ in os.walk(tree):
        os.chmod(directory, 0o755)


def harvest_packages(cache: Cache, suite: str, upper: Path) -> int:
    """Keep the packages a host downloaded; gives how many."""
    kept = 0
    target = cache.packages(suite)
    target.mkdir(parents=True, exist_ok=True)
    for package in (upper / "var/cache/apt/archives").glob("*.deb"):
        if package.is_file() and not (target / package.name).exists():
            arriving = target / f".{os.getpid()}-{package.name}"
            shutil.move(package, arriving)
            arriving.rename(target / package.name)
            kept += 1
    return kept


def freeze(runner: Runner, upper: Path, layer: Path) -> None:
    """Make the upper directory of a stopped host the layer `layer`; if another process was first, its stays."""
    for name in _NOT_IN_LAYER.split():
        path = upper / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for log in (upper / "var/log").rglob("*"):
        if log.is_file() and not log.is_symlink():
            # Truncated, not removed: daemons expect files with their owners.
            os.truncate(log, 0)
    shutil.rmtree(upper / "var/log/journal", ignore_errors=True)
    layer.parent.mkdir(parents=True, exist_ok=True)
    arriving = layer.parent / f".{os.getpid()}-{layer.name}"
    shutil.rmtree(arriving, ignore_errors=True)
    # mv copies with all attributes when the file systems differ.
    runner.run(["mv", str(upper), str(arriving)])
    runner.run(["sync", "-f", str(arriving)])
    try:
        arriving.rename(layer)
    except OSError:
        if not layer.is_dir():
            raise
        shutil.rmtree(arriving)


def require(cache: Cache, image: str, key: str) -> Path:
    """Directory of a layer. Raises `ProviderError` when it is not there."""
    layer = cache.layer(image, key)
    if not layer.is_dir():
        raise ProviderError(
            f"The layer {key} of {image} is not in {cache.directory} (removed since the hosts were planned?).\n"
            "Destroy this deployment and deploy again: the layer is built anew."
        )
    return layer


def refuse_odd_path(directory: Path) -> None:
    """Raise `PrerequisiteError` for a path that mount options cannot express."""
    odd = [character for character in ',"\\\n' if character in str(directory)]
    if odd:
        raise PrerequisiteError(
            f"{directory} contains {odd[0]!r}, which the overlay file system cannot express in its options.\n"
            "Use a directory without commas, quotes and backslashes."
        )
