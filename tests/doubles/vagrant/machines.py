"""The machines of a Vagrantfile, as containers of this machine or as words only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

FIRST_PORT = 2200


@dataclass(frozen=True)
class Machine:
    """What the Vagrantfile says of a machine."""

    name: str
    addresses: tuple[str, str]
    memory_mb: int
    provisioners: tuple[str, ...]


def read(file: Path) -> list[Machine]:
    """The machines of a Vagrantfile of EnOSlib's."""
    text = file.read_text()
    scripts = dict(re.findall(r"\$(\w+) = <<(?:\w+)\n(.*?)\n[A-Z]+\n", text, re.DOTALL))
    head, *parts = re.split(r'config\.vm\.define "([^"]+)" do', text)
    everywhere = [words.replace("\\'", "'") for words in re.findall(r'provision "shell", inline: \'(.*)\'', head)]
    found = []
    for name, block in zip(parts[::2], parts[1::2], strict=True):
        first, second = re.findall(r':private_network, ip: "([^"]+)"', block)
        (memory,) = re.findall(r"\.memory=(\d+)", block)
        own = [scripts[script] for script in re.findall(r'provision "shell", inline: \$(\w+)', block)]
        found.append(Machine(name, (first, second), int(memory), (*everywhere, *own)))
    return found


class Pretended:
    """Machines of which there are only the files that Vagrant keeps."""

    def __init__(self, place: Path, machines: list[Machine]) -> None:
        self._place = place / ".vagrant" / "machines"
        self._machines = machines

    def boot(self, machine: Machine) -> None:
        file = self._file(machine)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(machine.name)
        (file.parent / "private_key").write_text("")

    def kill(self, machine: Machine) -> None:
        """It came up broken: there is no machine."""
        self._file(machine).unlink()

    def provision(self, machine: Machine) -> None:
        """There is nobody."""

    def runs(self, machine: Machine) -> bool:
        return self._file(machine).exists()

    def ssh(self, machine: Machine) -> tuple[str, int, Path]:
        """Address, port and private key."""
        return "127.0.0.1", FIRST_PORT + self._machines.index(machine), self._file(machine).parent / "private_key"

    def destroy(self) -> None:
        for machine in self._machines:
            self._file(machine).unlink(missing_ok=True)

    def _file(self, machine: Machine) -> Path:
        return self._place / machine.name / os.environ.get("VAGRANT_DEFAULT_PROVIDER", "virtualbox") / "id"


def open_machines(place: Path) -> Pretended:
    """The machines of the Vagrantfile in `place`."""
    machines = read(place / "Vagrantfile")
    pretend = (Path(os.environ["FAKE_VAGRANT"]) / "pretend").exists()
    if pretend:
        return Pretended(place, machines)
    from tests.doubles.vagrant.containers import Containers  # EnOSlib comes with it, and takes its time

    return Containers(place, machines)
