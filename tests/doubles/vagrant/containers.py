"""Machines that are there: containers."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from enos_crdb.command import SubprocessRunner
from enos_crdb.phases.context import cache_directory
from enos_crdb.providers.nspawn import Configuration, HostRequest, NetworkRequest, Nspawn
from enos_crdb.providers.nspawn.fleet import Fleet, write_private
from enos_crdb.providers.nspawn.plan import FleetPlan, to_json
from tests.doubles.vagrant.machines import Machine, Pretended

_AS_IN_A_BOX = "id vagrant || { useradd -m -s /bin/bash vagrant; mv /root/.ssh /home/vagrant/.ssh; }"
"""The key opens the account vagrant, and root's only when somebody saw to it."""


class Containers(Pretended):
    """Machines that are there: hosts of our own provider `nspawn`, at the Vagrantfile's addresses."""

    def __init__(self, place: Path, machines: list[Machine]) -> None:
        super().__init__(place, machines)
        self._directory = place / ".vagrant" / "containers"
        conf = Configuration()
        file = Path(os.environ["FAKE_VAGRANT"]) / "layers"
        layers = json.loads(file.read_text()) if file.exists() else {}
        conf.machines = [
            HostRequest(name=machine.name, roles=("machine",), layer=layers.get(machine.name)) for machine in machines
        ]
        for name, address in zip(("control", "database"), machines[0].addresses, strict=True):
            cidr = str(IPv4Network(f"{address}/24", strict=False))
            conf.networks.append(NetworkRequest(name=name, cidr=cidr))
        self._conf = conf
        self._nspawn = Nspawn(conf, state_dir=self._directory, cache_dir=cache_directory(), runner=SubprocessRunner())

    def boot(self, machine: Machine) -> None:
        fleet: Fleet = self._nspawn._fleet
        deployment = fleet.load() or self._plan(fleet)
        if not fleet.running(deployment, machine.name):
            self._nspawn.prepare()
            fleet.up(deployment, sources=self._nspawn._sources())
        if not self.runs(machine):
            self._do(machine, _AS_IN_A_BOX, *machine.provisioners)
        super().boot(machine)

    def kill(self, machine: Machine) -> None:
        super().kill(machine)
        self._nspawn.kill_host(machine.name)

    def provision(self, machine: Machine) -> None:
        self._do(machine, *machine.provisioners)

    def ssh(self, machine: Machine) -> tuple[str, int, Path]:
        return machine.addresses[0], 22, self._nspawn._fleet.keyfile

    def destroy(self) -> None:
        super().destroy()
        self._nspawn.destroy()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _plan(self, fleet: Fleet) -> FleetPlan:
        planned = fleet.plan(self._conf.machines, suite=self._nspawn.suite, cidrs=self._conf.cidrs)
        addresses = {m.name: dict(zip(("control", "database"), m.addresses, strict=True)) for m in self._machines}
        hosts = tuple(replace(host, addresses=addresses[host.name]) for host in planned.hosts)
        deployment = replace(planned, hosts=hosts)
        write_private(fleet.state_file, json.dumps(to_json(deployment)))
        return deployment

    def _do(self, machine: Machine, *scripts: str) -> None:
        for_one_session = "set -e\n" + "\n".join(scripts)
        SubprocessRunner().run([*self._nspawn.ssh_command(machine.name), "sh"], input=for_one_session)
