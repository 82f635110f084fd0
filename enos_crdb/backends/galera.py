"""Backend ``galera``: a cluster of MariaDB servers that certify every commit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enos_crdb.backends.contract import THROUGH_ONE_COMPARED, Connection, Reset
from enos_crdb.backends.mariadb import connection, server_variables
from enos_crdb.backends.packaged import Packaged
from enos_crdb.config.database import Galera
from enos_crdb.model import Host, Resources


@dataclass(frozen=True, kw_only=True)
class GaleraBackend(Packaged):
    """MariaDB Galera from Debian's packages."""

    name: str = "galera"
    ansible_role: str = "galera"
    installs: tuple[str, ...] = ("mariadb", "galera")
    files: tuple[str, ...] = (
        "/etc/mysql/mariadb.cnf",
        "/etc/mysql/mariadb.conf.d/*.cnf",
        "/var/lib/mysql/grastate.dat",
        "/var/lib/mysql/gvwstate.dat",
    )
    resets: Reset = THROUGH_ONE_COMPARED

    def variables(self, options: Galera, resources: Resources, secrets: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        nodes = {node.name: node for node in resources.with_role("database")}
        cluster = {
            "galera_nodes": {name: node.addresses["database"] for name, node in nodes.items()},
            # By name, so that two runs agree: the order of EnOSlib's groups changes with every process.
            "galera_first": min(nodes),
            "galera_sync_wait": options.wsrep_sync_wait,
            "galera_slave_threads": options.wsrep_slave_threads,
            "galera_gcache_mb": options.gcache_mb,
            "galera_provider_options": dict(options.provider_options),
        }
        return {
            name: {**server_variables(options, node, resources, secrets), **cluster} for name, node in nodes.items()
        }

    def connection(
        self, options: Galera, resources: Resources, keystone: Host, secrets: Mapping[str, str]
    ) -> Connection:
        return connection(resources, keystone, secrets)

    def version_command(self) -> tuple[str, ...]:
        query = (
            "SELECT CONCAT(VERSION(), ' galera ', variable_value) FROM information_schema.global_status "
            "WHERE variable_name = 'wsrep_provider_version'"
        )
        return ("mariadb", "--batch", "--skip-column-names", f"--execute={query}")
