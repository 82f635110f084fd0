"""The whole deployment file, and the rules that involve more than one section."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from enos_crdb.config import g5k, static, vagrant
from enos_crdb.config.base import Section
from enos_crdb.config.bench import Bench
from enos_crdb.config.cockroachdb import CockroachDB, misfits
from enos_crdb.config.database import Database
from enos_crdb.config.emulation import Emulation, Endpoint, links
from enos_crdb.config.g5k import G5k
from enos_crdb.config.openstack import OpenStack
from enos_crdb.config.resources import Machines, Networks, Nspawn, plan_hosts
from enos_crdb.config.static import Static
from enos_crdb.config.vagrant import Vagrant

SINGLE_NODE = ("postgresql", "mariadb")
PROVIDERS = ("nspawn", "g5k", "vagrant", "static")
"""Values of ``provider``, and the names of their sections."""


class Configuration(Section):
    """The whole deployment file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")
    """Name of the deployment."""
    provider: Literal["nspawn", "g5k", "vagrant", "static"]
    """Where the hosts come from: local containers, Grid'5000, virtual machines on this machine, or existing machines.
    Only the section of that name is used; a file may have several."""
    nspawn: Nspawn = Nspawn()
    g5k: G5k = G5k()
    vagrant: Vagrant = Vagrant()
    static: Static = Static()
    machines: list[Machines] = Field(min_length=1)
    """The groups of hosts."""
    networks: Networks = Networks()
    database: Database
    """The database under test; one of the kinds below."""
    openstack: OpenStack = OpenStack()
    bench: Bench = Bench()
    emulation: Emulation = Emulation()

    def count(self, role: str) -> int:
        """How many hosts carry `role`."""
        return sum(group.count for group in self.machines if role in group.roles)

    def at_least(self, role: str) -> int:
        """How many hosts carry `role` when the testbed lost as many as the file allows."""
        return sum(group.enough for group in self.machines if role in group.roles)

    @model_serializer(mode="wrap")
    def _with_one_provider(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What another provider would have been asked for is no part of what is stored."""
        document: dict[str, Any] = serialize(self)
        return {key: value for key, value in document.items() if key not in PROVIDERS or key == self.provider}

    @model_validator(mode="after")
    def _every_role_is_given(self) -> Configuration:
        for role in ("database", "keystone", "rally"):
            if not self.count(role):
                raise ValueError(
                    f"machines: no machine has the role '{role}'; "
                    "add it to the `roles` of one (a machine may have several)"
                )
        return self

    @model_validator(mode="after")
    def _the_backend_fits_the_hosts(self) -> Configuration:
        nodes = self.count("database")
        if self.database.backend in SINGLE_NODE and nodes != 1:
            raise ValueError(
                f"database.backend: '{self.database.backend}' is a single server, but {nodes} machines have the role "
                "'database'; give it to exactly one, or choose backend 'galera'"
            )
        fewest = self.at_least("database")
        if self.database.backend == "galera" and fewest < 3:
            raise ValueError(
                f"database.backend: 'galera' needs at least 3 machines of role 'database' to keep a quorum when one "
                f"is lost, but there are {fewest}; raise `count`, or choose backend 'mariadb'"
            )
        return self

    @model_validator(mode="after")
    def _the_cluster_fits_the_sites(self) -> Configuration:
        if isinstance(self.database, CockroachDB):
            sites = [host.site for host in plan_hosts(self.machines) if "database" in host.group.roles]
            for problem in misfits(self.database, sites):
                raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _keystone_can_use_the_backend(self) -> Configuration:
        if self.database.backend == "cockroachdb" and self.openstack.keystone.keystone_crdb == "off":
            raise ValueError(
                "openstack.keystone.keystone_crdb: 'off' leaves a Keystone that cannot make its schema on CockroachDB "
                "(its migrations fail); choose 'drivers', or 'plugin' to see Keystone without replays"
            )
        return self

    @model_validator(mode="after")
    def _the_networks_fit(self) -> Configuration:
        given = {
            name: IPv4Network(network.cidr)
            for name, network in (("control", self.networks.control), ("database", self.networks.database))
            if network.cidr != "auto"
        }
        hosts = sum(group.count for group in self.machines)
        for name, subnet in given.items():
            if subnet.num_addresses - 3 < hosts:  # the network's own, the gateway's, the broadcast address
                raise ValueError(f"networks.{name}.cidr: '{subnet}' has no room for {hosts} hosts; give a larger one")
        if len(given) == 2 and given["control"].overlaps(given["database"]):
            raise ValueError(f"networks.database.cidr: '{given['database']}' overlaps networks.control.cidr")
        return self

    @model_validator(mode="after")
    def _the_provider_can_do_it(self) -> Configuration:
        problems: list[str] = []
        if self.provider == "g5k":
            problems = g5k.misfits(self.g5k, self.machines, self.networks)
        if self.provider == "vagrant":
            groups = [(group.cpus, group.count) for group in self.machines]
            cidrs = {name: getattr(self.networks, name).cidr for name in ("control", "database")}
            problems = vagrant.misfits(self.vagrant, groups, cidrs)
        if self.provider == "static":
            problems = static.misfits(self.static, self.machines, self.networks)
        for problem in problems:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _the_constraints_name_hosts(self) -> Configuration:
        places = [
            Endpoint(name=host.name, roles=tuple(host.group.roles), site=host.site)
            for host in plan_hosts(self.machines)
        ]
        links(self.emulation.constraints, places)
        return self

    @model_validator(mode="after")
    def _the_load_fits_the_runner(self) -> Configuration:
        bench = self.bench
        if bench.runner.type == "constant" and bench.concurrency > bench.times:
            raise ValueError(
                f"bench.concurrency: {bench.concurrency} is above bench.times, {bench.times}; "
                "Rally's constant runner cannot have more iterations in flight than there are"
            )
        return self
