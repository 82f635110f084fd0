"""`StaticHosts`: machines that are there already, through EnOSlib's provider `Static`."""

from __future__ import annotations

import getpass
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from enoslib import Static, StaticConf

from enos_crdb import survey
from enos_crdb.config.resources import PlannedHost
from enos_crdb.config.static import LOCALHOST, StaticHost, assignments
from enos_crdb.errors import PrerequisiteError, ProviderError
from enos_crdb.model import Host, Network, Resources, System
from enos_crdb.providers import connections
from enos_crdb.providers.contract import Request
from enos_crdb.providers.static.look import MARKER, Claim, Seen, claim, look, unclaim
from enos_crdb.store import read_json, write_json

_NO_SSH = "ssh is missing on this machine: it reaches the hosts (Debian package openssh-client)."
_TAKEN_OVER = {"keystone": ("/etc/keystone", "memcached.service"), "rally": ("haproxy.service",)}
_DATA = {
    "postgresql": ["/var/lib/postgresql/"],
    "mariadb": ["/var/lib/mysql/"],
    "galera": ["/var/lib/mysql/"],
    "cockroachdb": ["/var/lib/cockroach"],
}


class StaticHosts:
    """Machines of the user, for the engine. They are marked while they serve a deployment, and stay when it ends."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._directory = request.directory.resolve()
        self._file = self._directory / "static.json"

    @property
    def control_path_dir(self) -> Path:
        return connections.socket_directory(self._directory)

    @property
    def system(self) -> System | None:
        return None

    @property
    def sees_binds(self) -> bool:
        return False

    @property
    def owns_hosts(self) -> bool:
        return False

    def problems(self) -> list[str]:
        hosts = self._hosts()
        if _no_way_to(hosts):
            return [_NO_SSH]
        seen, problems = look(self._request.runner, hosts)
        for name, sight in seen.items():
            if sight.claim is not None:
                self._request.notify(f"{name} serves deployment {sight.claim.describe()}: no other can use it now")
        return problems + [
            said for host in hosts if host.name in seen for said in self._precious(host, seen[host.name])
        ]

    def prepare(self) -> None:
        if _no_way_to(self._hosts()):
            raise PrerequisiteError(_NO_SSH)

    def acquire(self, layers: Mapping[str, str]) -> Resources:
        """The machines as hosts: each is looked at, and marked as ours. Raises `ProviderError`."""
        hosts, mine = self._hosts(), self._claim()
        seen, problems = look(self._request.runner, hosts)
        for host in hosts:
            if sight := seen.get(host.name):
                problems += [*_taken(host.name, sight.claim, mine), *self._precious(host, sight)]
                problems += self._misplaced(host, sight)
        if problems:
            raise ProviderError("These machines cannot be used:\n" + "\n".join(f"  {said}" for said in problems))
        networks = self._networks(hosts)
        found = survey.complete(
            Resources(hosts=tuple(_addressed(host, seen[host.name], networks) for host in hosts), networks=networks),
            {name: sight.survey for name, sight in seen.items()},
        )
        _refuse_twins(found.hosts)
        self._mark(hosts, mine)
        return found

    def release(self) -> None:
        """Remove the marks and end the connections: what was installed belongs to the machines' owner.

        A machine that cannot be reached is told, and does not keep a deployment from ending.
        """
        if self._file.exists():
            for name, reason in unclaim(self._request.runner, self._hosts(), self._claim().id).items():
                self._request.notify(f"warning: {name} keeps {MARKER} and what is installed there: {reason}")
            self._file.unlink()
        connections.close(self._request.runner, self.control_path_dir)

    # The machines

    def _hosts(self) -> tuple[Host, ...]:
        """As the file says, through EnOSlib."""
        section = self._request.configuration
        dealt = [(planned, machine) for planned, machine in assignments(section.static, section.machines) if machine]
        conf = StaticConf()
        for planned, machine in dealt:
            conf.add_machine(**self._machine(planned, machine))
        roles, _ = Static(conf.finalize()).init()
        # EnOSlib makes one object for each role of a machine: they are told apart by its name.
        made = {host.alias: host for host in roles.all()}
        return tuple(_host(made[planned.name], planned, machine) for planned, machine in dealt)

    def _machine(self, planned: PlannedHost, machine: StaticHost) -> dict[str, object]:
        """What EnOSlib is told of a machine."""
        told: dict[str, object] = {"roles": list(planned.group.roles), "alias": planned.name}
        if machine.address == LOCALHOST:
            return {**told, "address": LOCALHOST, "user": getpass.getuser(), "extra": {"ansible_connection": "local"}}
        static = self._request.configuration.static
        keyfile = machine.keyfile or static.keyfile
        # As on every other connection of ours; an agent's other keys would use up the attempts that sshd grants.
        options = "-o UserKnownHostsFile=/dev/null" + (" -o IdentitiesOnly=yes" if keyfile else "")
        return {
            **told,
            "address": machine.address,
            "user": machine.user or static.user,
            "port": machine.port or static.port,
            "keyfile": str(Path(keyfile).expanduser()) if keyfile else None,
            "extra": {"ansible_ssh_common_args": options},
        }

    # Networks

    def _cidrs(self) -> dict[str, str]:
        networks = self._request.configuration.networks
        given = {"control": networks.control.cidr, "database": networks.database.cidr}
        return {name: cidr for name, cidr in given.items() if cidr != "auto"}

    def _networks(self, hosts: Sequence[Host]) -> tuple[Network, ...]:
        """Those that the file gives; a deployment on this machine alone needs no other than the loopback."""
        given = self._cidrs()
        alone = len(hosts) == 1 and hosts[0].local
        implied = {name: "127.0.0.0/8" for name in survey.NETWORKS if alone and not hosts[0].addresses.get(name)}
        return tuple(Network(name=name, cidr=cidr) for name, cidr in {**implied, **given}.items())

    def _misplaced(self, host: Host, sight: Seen) -> list[str]:
        """Addresses that the file gives and the host does not have; with a subnet given, they may be translated."""
        own = {str(interface.ip) for _, interface in sight.survey.interfaces}
        return [
            f"{host.name} ({host.address}): it does not have {address}, which static.hosts says is its address on the "
            f"network '{name}'; it has {', '.join(sorted(own)) or 'none'}. Correct it (where it is translated on the "
            f"way, give networks.{name}.cidr, too)."
            for name, address in host.addresses.items()
            if address not in own and name not in self._cidrs()
        ]

    # Whose they are

    def _precious(self, host: Host, sight: Seen) -> list[str]:
        """What was on the machine before, and would be taken over and removed by this deployment."""
        if sight.claim is not None:
            return []
        backend = self._request.configuration.database.backend
        concerned = [place for role in host.roles for place in _TAKEN_OVER.get(role, ())]
        concerned += _DATA[backend] if "database" in host.roles else []
        return [
            f"{host.name} ({host.address}): it has {found} already, which the deployment would take over and `destroy` "
            "remove. Choose a machine that nobody else needs, or move it away first."
            for found in sight.holds
            if found.startswith(tuple(concerned))
        ]

    def _claim(self) -> Claim:
        """What marks a machine as ours; the number is made once per deployment."""
        number = read_json(self._file)["id"] if self._file.exists() else secrets.token_hex(8)
        return Claim(
            id=number,
            name=self._request.configuration.name,
            directory=str(self._directory),
            machine=socket.gethostname(),
        )

    def _mark(self, hosts: Sequence[Host], mine: Claim) -> None:
        if self._directory.is_dir() and not self._file.exists():
            write_json(self._file, {"id": mine.id})  # first, so that `release` finds marks of a run that was ended
        owners = claim(self._request.runner, hosts, mine)
        taken = [said for name, owner in owners.items() for said in _taken(name, owner, mine)]
        if taken:  # by a deployment that looked at the same moment; both give way
            unclaim(self._request.runner, hosts, mine.id)
            raise ProviderError("\n".join(taken))


def _host(made: object, planned: PlannedHost, machine: StaticHost) -> Host:
    """EnOSlib's host in our own values."""
    given = machine.addresses
    addresses = {"control": given.control, "database": given.database}
    return Host(
        name=planned.name,
        roles=tuple(planned.group.roles),
        address=made.address,  # type: ignore[attr-defined]  # EnOSlib has no types
        addresses={name: address for name, address in addresses.items() if address},
        site=planned.site,
        user=made.user,  # type: ignore[attr-defined]
        port=made.port,  # type: ignore[attr-defined]
        keyfile=made.keyfile,  # type: ignore[attr-defined]
        variables=dict(made.extra),  # type: ignore[attr-defined]
    )


def _addressed(host: Host, sight: Seen, networks: Sequence[Network]) -> Host:
    """With the address that ssh reaches on every network of which the file says nothing."""
    silent = set(survey.NETWORKS) - set(host.addresses) - {network.name for network in networks}
    own = {str(interface.ip) for _, interface in sight.survey.interfaces}
    known = {name: str(sight.connected) for name in silent if str(sight.connected) in own}
    loopback = {name.name: "127.0.0.1" for name in networks if host.local and name.cidr == "127.0.0.0/8"}
    return replace(host, addresses={**known, **loopback, **host.addresses})


def _no_way_to(hosts: Sequence[Host]) -> bool:
    return shutil.which("ssh") is None and not all(host.local for host in hosts)


def _taken(name: str, owner: Claim | None, mine: Claim) -> list[str]:
    if owner is None or owner.id == mine.id:
        return []
    return [
        f"{name} serves deployment {owner.describe()}.\n"
        f"    `enos_crdb destroy` frees it there. If that deployment is gone, remove {MARKER} on the machine."
    ]


def _refuse_twins(hosts: Sequence[Host]) -> None:
    """Two addresses of the file may lead to one machine."""
    for network in survey.NETWORKS:
        first: dict[str, Host] = {}
        for host in hosts:
            other = first.setdefault(host.addresses[network], host)
            if other is not host:
                raise ProviderError(
                    f"{other.name} ({other.address}) and {host.name} ({host.address}) have the same address "
                    f"{host.addresses[network]} on the network '{network}'.\n"
                    "They are the same machine, or the other end of one translation: name another one in static.hosts."
                )
