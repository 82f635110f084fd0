"""What this machine needs to run machines of Vagrant. Nothing is installed: the user's hypervisor is his own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from enos_crdb.command import Runner
from enos_crdb.config.vagrant import Vagrant

SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
KVM = Path("/dev/kvm")
DISK_MB = 4000
"""What a machine writes, about: its box is shared."""


def problems(
    section: Vagrant, *, memory_mb: list[int], home: Path, runner: Runner, notify: Callable[[str], None]
) -> list[str]:
    """What this machine lacks, a sentence each with its remedy; what is only slow or tight goes to `notify`.

    ``memory_mb`` of each machine; ``home`` is vagrant's (``~/.vagrant.d``).
    """
    found = [*_programs(section), *_memory(sum(memory_mb))]
    if not found:
        found += _plugin(section, runner)
        _tell_of_the_box(section, runner, notify)
    if section.backend == "libvirt" and not KVM.exists():
        notify("warning: this machine has no KVM (/dev/kvm): its virtual machines are emulated, ten times slower")
    _tell_of_the_disk(section, len(memory_mb), home, notify)
    return found


def _programs(section: Vagrant) -> list[str]:
    found = []
    if shutil.which("vagrant") is None:
        found.append(
            "vagrant is missing: it makes the machines. On Debian 12 and Ubuntu 22.04: apt-get install vagrant; "
            "elsewhere see https://developer.hashicorp.com/vagrant/install."
        )
    if importlib.util.find_spec("vagrant") is None:
        found.append(
            "python-vagrant is missing: EnOSlib talks to vagrant with it. Run: pip install 'enoslib[vagrant]'."
        )
    found += [
        f"{program} is missing: it sees to it that no vagrant is left behind (Debian package util-linux)."
        for program in ("setpriv", "flock")
        if shutil.which(program) is None
    ]
    return found + (_libvirt() if section.backend == "libvirt" else _virtualbox())


def _libvirt() -> list[str]:
    if os.environ.get("LIBVIRT_DEFAULT_URI", "qemu:///system") != "qemu:///system":
        return []  # the user's own choice; vagrant-libvirt will tell
    refusals = []
    for path in SOCKETS:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(path))
                return []
            except PermissionError:
                return [
                    f"libvirt does not let this user in ({path}): run `sudo usermod -aG libvirt $USER`, and log in "
                    "again."
                ]
            except OSError as error:
                refusals.append(f"{path}: {error.strerror}")
    return [
        f"libvirt does not run ({'; '.join(refusals)}): it runs the machines. Install the Debian packages "
        "libvirt-daemon-system and qemu-system-x86, and start it with `sudo systemctl start libvirtd`; or use "
        "VirtualBox with vagrant.backend: virtualbox."
    ]


def _virtualbox() -> list[str]:
    if shutil.which("VBoxManage") is None:
        return [
            "VirtualBox is missing (VBoxManage): it runs the machines. Install it from "
            "https://www.virtualbox.org/wiki/Linux_Downloads, or use libvirt with vagrant.backend: libvirt."
        ]
    if not Path("/dev/vboxdrv").exists():
        return ["VirtualBox's kernel module is not loaded (/dev/vboxdrv): run `sudo /sbin/vboxconfig`."]
    return []


def _plugin(section: Vagrant, runner: Runner) -> list[str]:
    if section.backend != "libvirt":
        return []
    said = runner.run(["vagrant", "plugin", "list"], check=False).stdout
    if "vagrant-libvirt" in said:
        return []
    return [
        "vagrant's plugin vagrant-libvirt is missing: install the Debian package vagrant-libvirt, or run "
        "`vagrant plugin install vagrant-libvirt`."
    ]


def _memory(wanted_mb: int) -> list[str]:
    total_mb = _meminfo("MemTotal")
    if total_mb is None or wanted_mb <= total_mb:
        return []
    return [
        f"The machines ask for {wanted_mb} MB of memory, and this machine has {total_mb} MB: ask for less with "
        "machines.*.memory_mb (2048 each by default), or for fewer machines."
    ]


def _meminfo(key: str) -> int | None:
    file = Path("/proc/meminfo")
    for line in file.read_text().splitlines() if file.exists() else ():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) // 1024
    return None


def _tell_of_the_box(section: Vagrant, runner: Runner, notify: Callable[[str], None]) -> None:
    boxes = runner.run(["vagrant", "box", "list"], check=False).stdout
    here = [line for line in boxes.splitlines() if line.split()[:1] == [section.box] and f"({section.backend}," in line]
    if not here:
        source = section.box_url or "Vagrant's public catalogue"
        notify(f"the box {section.box} is not on this machine: `deploy` fetches it from {source}")


def _tell_of_the_disk(section: Vagrant, machines: int, home: Path, notify: Callable[[str], None]) -> None:
    pool = Path("/var/lib/libvirt/images") if section.backend == "libvirt" else home
    place = next(path for path in (pool, *pool.parents) if path.exists())
    free_mb = shutil.disk_usage(place).free // 1_000_000
    if free_mb < machines * DISK_MB:
        notify(f"warning: {place} has {free_mb} MB free, and {machines} machines may write {machines * DISK_MB} MB")
