"""`Grid5000`: nodes reserved through EnOSlib, for the engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import enoslib

from enos_crdb import ssh
from enos_crdb.ansible import GATEWAY_SESSIONS
from enos_crdb.config.g5k import Batch, batches, cost, job_name
from enos_crdb.errors import CommandError, EnosCrdbError, PrerequisiteError, ProviderError
from enos_crdb.model import Host, Lease, Network, Resources, System
from enos_crdb.providers import connections
from enos_crdb.providers.contract import Request, plan_hosts
from enos_crdb.providers.g5k import credentials, jobs, memory
from enos_crdb.providers.g5k.availability import look
from enos_crdb.providers.g5k.configuration import configuration
from enos_crdb.providers.g5k.errors import explained
from enos_crdb.providers.g5k.nodes import assign, check_enough
from enos_crdb.providers.g5k.reservation import Reservation
from enos_crdb.providers.g5k.speaking import heard

ACCESS = "access.grid5000.fr"
SSH_FAILED = 255
_TRYING = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=no")

GATEWAYS = ("gateway", "gateway_user", "internal_gateway", "internal_gateway_user")
"""What EnOSlib says of the machines to jump over."""


class Grid5000:
    """Nodes of Grid'5000. Its jobs are found by their name, which the deployment file alone decides."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._section = request.configuration.g5k
        self._directory = request.directory.resolve()
        self._file = self._directory / "g5k.json"

    @property
    def control_path_dir(self) -> Path:
        return connections.socket_directory(self._directory)

    @property
    def system(self) -> System | None:
        return None  # the name of an environment does not tell: architectures differ, too

    @property
    def sees_binds(self) -> bool:
        return False

    @property
    def owns_hosts(self) -> bool:
        return not self._section.reuse

    @property
    def job_name(self) -> str:
        """How the jobs are called."""
        configuration = self._request.configuration
        return job_name(self._section, configuration.machines, configuration.name)

    def problems(self) -> list[str]:
        found = credentials.faults(self._section)
        if found:
            return found
        try:
            with self._speaking("asking Grid'5000 about the request"):
                findings = look(credentials.client(), self._section, self._asked)
        except EnosCrdbError as error:
            return [str(error)]
        for fact in findings.facts:
            self._request.notify(fact)
        return [*findings.problems, *self._jump_problems()]

    def prepare(self) -> None:
        if found := credentials.faults(self._section):
            raise PrerequisiteError("\n".join(found))

    def acquire(self, layers: Mapping[str, str]) -> Resources:
        """Reserve, install and reach the nodes; the same ones as long as the jobs live. Raises `ProviderError`."""
        self.prepare()
        if not self._section.reuse:
            self._request.notify(f"{self.job_name}: {cost(self._section, self._request.configuration.machines)}")
        with self._speaking(f"the reservation of {sum(len(batch.names) for batch in self._asked)} nodes"):
            self._refuse_other_nodes()
            reservation, nodes, networks = self._reserve()
            if reservation.deploys:
                reservation.wait_nodes()
            reservation.address_second_cards()
            memory.save(self._file, replace(reservation.memory, settled=True))
            return Resources(hosts=self._hosts(nodes), networks=_networks(networks))

    def lease(self) -> Lease | None:
        """Until when the jobs run, as OAR says now (`oarwalltime` may have changed it)."""
        known = memory.load(self._file).jobs
        if not known:
            return None
        with self._speaking("asking for the end of the reservation"):
            return jobs.lease(jobs.numbered(known))

    def release(self) -> None:
        """Delete the jobs of the request, wherever they were submitted from, and wait until they are gone."""
        if self._section.reuse:
            for site, number in self._section.reuse.items():
                self._request.notify(f"job {number} at {site} was made by hand and is kept; `oardel {number}` ends it")
        else:
            if found := credentials.faults(self._section):
                raise PrerequisiteError("\n".join(found))
            with self._speaking("ending the reservation"):
                jobs.end(self._jobs(), self._request.notify)
        self._file.unlink(missing_ok=True)
        connections.close(self._request.runner, self.control_path_dir)

    @property
    def _asked(self) -> tuple[Batch, ...]:
        return batches(self._section, self._request.configuration.machines)

    def _jobs(self) -> list[Any]:
        """Jobs of the request's name, and those that were used here whatever their name is now."""
        found = jobs.named(self.job_name, (batch.site for batch in self._asked))
        known = set(memory.load(self._file).jobs) - set(jobs.identities(found))
        return found + [job for job in jobs.numbered(sorted(known)) if job.state in jobs.ALIVE]

    @contextmanager
    def _speaking(self, doing: str) -> Iterator[None]:
        """EnOSlib set up, its log heard, its errors explained."""
        api = credentials.client()
        os.environ["ANSIBLE_SSH_CONTROL_PATH_DIR"] = str(self.control_path_dir)
        os.environ.setdefault("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3")  # a shim in PATH must not be found
        jumps = credentials.jumps(self._section)
        enoslib.set_config(
            ansible_stdout="noop",
            ansible_forks=GATEWAY_SESSIONS if jumps else max(5, len(plan_hosts(self._request.configuration))),
            g5k_auto_jump=jumps,
        )
        with heard(self._request.notify, (str(api.password or ""),)), explained(doing):
            yield

    def _refuse_other_nodes(self) -> None:
        """Raise `ProviderError` when the jobs that served this deployment are gone: so is what was on their nodes."""
        known = memory.load(self._file)
        if not known.settled or self._section.reuse:
            return
        alive = jobs.identities(jobs.named(self.job_name, (batch.site for batch in self._asked)))
        if gone := sorted(set(known.jobs) - set(alive)):
            told = ", ".join(f"job {number} at {site}" for site, number in gone)
            raise ProviderError(
                f"The reservation is over ({told}): its nodes, and what was installed on them, are gone.\n"
                "`enos_crdb destroy`, then deploy again. Runs are kept."
            )

    def _reserve(self) -> tuple[Reservation, dict[str, Any], Any]:
        """(reservation, host name -> EnOSlib's host, networks).

        A second go, when nodes had to be installed again; there nothing is installed, so that it is the last.
        """
        known = memory.load(self._file)
        while True:
            conf = configuration(self._section, self._asked, self.job_name)
            reservation = Reservation(conf, known, self._request.notify)
            roles, networks = reservation.init()
            memory.save(self._file, reservation.memory)
            machines = self._request.configuration.machines
            check_enough(self._asked, machines, assign(self._asked, reservation.nodes), reservation.broken)
            if not reservation.missing:
                found = {host.address: host for host in roles.all()}
                nodes = assign(self._asked, _addresses(roles))
                return reservation, {name: found[address] for name, address in nodes.items()}, networks
            for node in reservation.broken:
                self._request.notify(f"kadeploy could not install {node}; going on without it")
            known = reservation.memory.losing(reservation.broken)
            memory.save(self._file, known)

    def _hosts(self, nodes: Mapping[str, Any]) -> tuple[Host, ...]:
        """In the order of the file; who is missing was not needed. Their addresses are asked of them."""
        return tuple(
            Host(
                name=planned.name,
                roles=tuple(planned.group.roles),
                address=nodes[planned.name].address,
                addresses={},
                site=planned.site,
                user=nodes[planned.name].user,
                variables={key: value for key, value in nodes[planned.name].extra.items() if key in GATEWAYS},
            )
            for planned in plan_hosts(self._request.configuration)
            if planned.name in nodes
        )

    def _jump_problems(self) -> list[str]:
        """Whether ssh passes the access machine, tried."""
        if not credentials.jumps(self._section):
            return []
        login = f"{credentials.client().username}@{ACCESS}"
        line = ["ssh", *ssh.configured(), *_TRYING, login, "true"]
        try:
            tried = self._request.runner.run(line, check=False, timeout_s=60)
        except CommandError as error:
            return [f"ssh cannot be tried on this machine: {error}"]
        if tried.returncode != SSH_FAILED:
            return []
        said = " ".join(tried.stderr.split())[-200:]
        return [
            f"ssh does not pass {login} ({said}): add this machine's public key to your Grid'5000 account "
            "(https://api.grid5000.fr/ui/account, «SSH keys»), or set g5k.jump to false if nodes are reached without."
        ]


def _addresses(roles: Any) -> Callable[[str], list[str]]:
    """From one of EnOSlib's roles to the addresses of its hosts."""
    return lambda role: [host.address for host in roles[role]]


def _networks(networks: Any) -> tuple[Network, ...]:
    """EnOSlib's networks of IPv4; one per site."""
    return tuple(
        Network(name=name, cidr=str(network.network), gateway=str(network.gateway) if network.gateway else None)
        for name in ("control", "database")
        for network in sorted(networks[name], key=lambda network: str(network.network))
        if network.network.version == 4
    )
