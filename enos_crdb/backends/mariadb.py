"""Backend ``mariadb``: one server; its variables are also those of each Galera node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enos_crdb.backends.contract import Connection
from enos_crdb.backends.packaged import Packaged
from enos_crdb.backends.placement import DATABASE, nearest_node, subnet, url
from enos_crdb.config.database import Galera, MariaDB
from enos_crdb.model import Host, Resources

PORT = 3306


def server_variables(
    options: MariaDB | Galera, node: Host, resources: Resources, secrets: Mapping[str, str]
) -> dict[str, Any]:
    """Variables of the Ansible role ``mariadb`` for one node."""
    return {
        "mariadb_address": node.addresses["database"],
        "mariadb_clients": subnet(resources).with_netmask,  # MariaDB's accounts do not know CIDR
        "mariadb_port": PORT,
        "mariadb_database": DATABASE,
        "mariadb_user": DATABASE,
        "mariadb_password": secrets["database_password"],
        "mariadb_max_connections": options.max_connections,
        "mariadb_innodb_buffer_pool_mb": options.innodb_buffer_pool_mb,
        "mariadb_durable": options.durable,
        "mariadb_settings": {name.lower().replace("-", "_"): value for name, value in options.settings.items()},
    }


def connection(resources: Resources, keystone: Host, secrets: Mapping[str, str]) -> Connection:
    """``charset=utf8`` is what DevStack asks for."""
    node = nearest_node(resources, keystone)
    return Connection(url=url("mysql+pymysql", node, PORT, secrets["database_password"]) + "?charset=utf8")


@dataclass(frozen=True, kw_only=True)
class MariaDBBackend(Packaged):
    """MariaDB from Debian's packages."""

    name: str = "mariadb"
    ansible_role: str = "mariadb"
    installs: tuple[str, ...] = ("mariadb",)
    files: tuple[str, ...] = ("/etc/mysql/mariadb.cnf", "/etc/mysql/mariadb.conf.d/*.cnf")

    def variables(
        self, options: MariaDB, resources: Resources, secrets: Mapping[str, str]
    ) -> dict[str, dict[str, Any]]:
        return {
            node.name: server_variables(options, node, resources, secrets) for node in resources.with_role("database")
        }

    def connection(
        self, options: MariaDB, resources: Resources, keystone: Host, secrets: Mapping[str, str]
    ) -> Connection:
        return connection(resources, keystone, secrets)

    def version_command(self) -> tuple[str, ...]:
        return ("mariadb", "--batch", "--skip-column-names", "--execute=SELECT VERSION()")
