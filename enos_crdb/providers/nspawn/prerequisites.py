"""What this machine needs to run local hosts, and how it gets it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enos_crdb.command import Runner
from enos_crdb.errors import CommandError, PrerequisiteError
from enos_crdb.providers.nspawn.network import RUN, locked
from enos_crdb.providers.nspawn.suite import is_ubuntu, parse_os_release

ALTERNATIVES = (
    "Where containers cannot work, hosts must come from elsewhere: virtual machines of this one (provider vagrant), "
    "machines you already have (static), Grid'5000 (g5k)."
)

# Bits of CapEff in /proc/self/status.
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_CHROOT": 18, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27}

_PROGRAMS = {
    "debootstrap": ("debootstrap", "makes the base image"),
    "systemd-nspawn": ("systemd-container", "runs the hosts"),
    "ip": ("iproute2", "makes the hosts' networks"),
    "ssh": ("openssh-client", "reaches the hosts"),
    "ssh-keygen": ("openssh-client", "makes the deployment's keys"),
    "mount": ("mount", "stacks the hosts' file systems"),
    "unshare": ("util-linux", "keeps mounts of the base image's making to itself"),
    "setpriv": ("util-linux", "ends what an interrupted command began"),
}

_EMULATION_PROGRAMS = {
    "iptables": ("iptables", "hands packets to what delays them, as the kernel has no netem"),
    "tc": ("iproute2", "limits the rate of links"),
    "nsenter": ("util-linux", "reaches the hosts' networks"),
}


@dataclass(frozen=True, kw_only=True)
class Lack:
    """Something missing. ``package`` is the Debian package that has it; ``None``: no package helps.

    ``remedy`` is what helps where no package does.
    """

    what: str
    package: str | None
    why: str
    remedy: str = ""

    def __str__(self) -> str:
        source = f" (Debian package {self.package})" if self.package else ""
        return f"{self.what} is missing{source}: it {self.why}" if self.package else f"{self.what}: {self.why}"


def missing(runner: Runner, *, suite: str, emulator: str | None = None) -> list[Lack]:
    """What this machine lacks for local hosts of `suite`; empty when nothing.

    ``emulator`` is what shall emulate a network (``auto``, ``netem``, ``nfqueue``), None when nothing shall.
    """
    root = os.geteuid() == 0
    queues = emulator == "nfqueue" or (emulator == "auto" and root and netem_refusal(runner) is not None)
    programs = {**_PROGRAMS, **_EMULATION_PROGRAMS} if queues else _PROGRAMS
    lacks = [
        Lack(what=program, package=package, why=why)
        for program, (package, why) in programs.items()
        if shutil.which(program) is None
    ]
    if shutil.which("nft") is None and shutil.which("iptables") is None:
        lacks.append(Lack(what="nft or iptables", package="nftables", why="gives the hosts a way to the network"))
    if (keyring := missing_keyring(suite, Path("/"))) is not None:
        lacks.append(keyring)
    if not root:
        return [*lacks, Lack(what="root", package=None, why="containers, mounts and networks are root's to make")]
    if emulator == "netem" and (refusal := netem_refusal(runner)) is not None:
        why = f"the kernel refuses ({refusal}), and emulation.emulator asks for it; 'auto' takes what there is"
        lacks.append(Lack(what="netem", package=None, why=why))
    if queues and shutil.which("iptables") and (refusal := _queue_refusal(runner)) is not None:
        lacks.append(
            Lack(what="NFQUEUE", package=None, why=f"a network cannot be emulated, the kernel says: {refusal}")
        )
    return lacks + _impossible(runner)


def missing_keyring(suite: str, root: Path) -> Lack | None:
    """The archive's public keys, if the machine at `root` lacks them. Debian has no package of Ubuntu's."""
    name = "ubuntu-archive-keyring.gpg" if is_ubuntu(suite) else "debian-archive-keyring.gpg"
    if (root / "usr/share/keyrings" / name).exists():
        return None
    release = root / "etc/os-release"
    ubuntu_here = release.exists() and parse_os_release(release.read_text()).get("ID") == "ubuntu"
    why = f"proves that packages of {suite} are genuine"
    if not is_ubuntu(suite):
        return Lack(what=name, package="debian-archive-keyring", why=why)
    if ubuntu_here:
        return Lack(what=name, package="ubuntu-keyring", why=why)
    remedy = (
        f"Debian has no package of {name}: put the file into /usr/share/keyrings; it is in the package ubuntu-keyring "
        "of Ubuntu's archive (`dpkg -x`)."
    )
    return Lack(what=name, package=None, why=why, remedy=remedy)


def netem_refusal(runner: Runner) -> str | None:
    """Why this kernel cannot delay packets, asked by doing it in a network of its own; None when it can."""
    command = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    return _refusal(runner, command)


def _queue_refusal(runner: Runner) -> str | None:
    rule = ["-A", "PREROUTING", "-j", "NFQUEUE", "--queue-num", "1", "--queue-bypass"]
    return _refusal(runner, ["unshare", "--net", "iptables", "-w", "-t", "mangle", *rule])


def _refusal(runner: Runner, command: Sequence[str]) -> str | None:
    try:
        runner.run(command)
    except CommandError as error:
        return " ".join((error.stderr or error.stdout).split())
    return None


def _impossible(runner: Runner) -> list[Lack]:
    lacks = [
        Lack(what=name, package=None, why="root of this machine is root of a container that may not make others")
        for name in lacking_capabilities(Path("/proc/self/status").read_text())
    ]
    if lacks:
        return lacks
    for what, command in (
        ("namespaces", ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "true"]),
        ("overlay file system", ["modprobe", "overlay"]),
    ):
        if what == "overlay file system" and "overlay" in Path("/proc/filesystems").read_text():
            continue
        try:
            runner.run(command)
        except CommandError as error:
            # A program that is missing is reported on its own, with its package.
            if error.returncode != 127:
                lacks.append(Lack(what=what, package=None, why=f"the kernel refuses: {error.stderr.strip()}"))
    # Where systemd runs, it makes the groups.
    if not Path("/run/systemd/system").is_dir() and not os.access("/sys/fs/cgroup", os.W_OK):
        lacks.append(Lack(what="writable /sys/fs/cgroup", package=None, why="every host needs a cgroup of its own"))
    return lacks


def lacking_capabilities(status: str) -> list[str]:
    """Capabilities absent from the effective set in the text of ``/proc/<pid>/status``."""
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def message(lacks: Sequence[Lack], *, root: bool) -> str:
    """What to tell a user whose machine lacks `lacks`."""
    lines = ["This machine cannot run local hosts (provider nspawn) yet; it lacks:"]
    lines += [f"  {lack.what}: {lack.why}" for lack in lacks]
    packages = sorted({lack.package for lack in lacks if lack.package})
    become = "" if root else "sudo "
    if packages:
        lines.append(f"Run: {become}apt-get install -y --no-install-recommends {' '.join(packages)}")
    if any(lack.what == "root" for lack in lacks):
        lines.append("Run enos_crdb as root, for example with sudo.")
    lines += [lack.remedy for lack in lacks if lack.remedy]
    if any(lack.package is None and lack.what != "root" and not lack.remedy for lack in lacks):
        lines.append("Nothing that can be installed changes this.")
    lines.append(ALTERNATIVES)
    return "\n".join(lines)


def install(runner: Runner, *, suite: str, notify: Callable[[str], None], emulator: str | None = None) -> None:
    """Install what is missing when that is possible. Raises `PrerequisiteError` when it is not."""
    lacks = missing(runner, suite=suite, emulator=emulator)
    packages = sorted({lack.package for lack in lacks if lack.package})
    if not lacks:
        return
    root = os.geteuid() == 0
    if any(lack.package is None for lack in lacks) or not root or shutil.which("apt-get") is None:
        raise PrerequisiteError(message(lacks, root=root))
    notify(f"installing Debian packages this machine lacks for local hosts: {', '.join(packages)}")
    try:
        # apt itself would refuse the second of two processes.
        with locked(RUN / "packages.lock", waiting=lambda: notify("waiting for another run, which installs packages")):
            _apt_install(runner, packages)
    except CommandError as error:
        raise PrerequisiteError(f"{message(lacks, root=root)}\nTrying that failed: {error}") from error
    remaining = missing(runner, suite=suite, emulator=emulator)
    if remaining:
        raise PrerequisiteError(message(remaining, root=root))


def _apt_install(runner: Runner, packages: Sequence[str]) -> None:
    environment: Mapping[str, str] = {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if runner.run(command, env=environment, check=False).returncode != 0:
        # A fresh machine has no lists, or old ones.
        runner.run(["apt-get", "update"], env=environment)
        runner.run(command, env=environment)
