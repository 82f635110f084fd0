"""Backend ``postgresql``: one server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enos_crdb.backends.contract import Connection
from enos_crdb.backends.packaged import Packaged
from enos_crdb.backends.placement import DATABASE, nearest_node, subnet, url
from enos_crdb.config.database import PostgreSQL
from enos_crdb.model import Host, Resources

PORT = 5432


@dataclass(frozen=True, kw_only=True)
class PostgreSQLBackend(Packaged):
    """PostgreSQL from Debian's packages."""

    name: str = "postgresql"
    ansible_role: str = "postgresql"
    installs: tuple[str, ...] = ("postgresql",)
    files: tuple[str, ...] = (
        "/etc/postgresql/*/main/*.conf",
        "/etc/postgresql/*/main/conf.d/*.conf",
        "/var/log/postgresql/*.log",
    )

    def variables(
        self, options: PostgreSQL, resources: Resources, secrets: Mapping[str, str]
    ) -> dict[str, dict[str, Any]]:
        return {
            node.name: {
                "postgresql_address": node.addresses["database"],
                "postgresql_clients": str(subnet(resources)),
                "postgresql_port": PORT,
                "postgresql_database": DATABASE,
                "postgresql_user": DATABASE,
                "postgresql_password": secrets["database_password"],
                "postgresql_max_connections": options.max_connections,
                "postgresql_shared_buffers_mb": options.shared_buffers_mb,
                "postgresql_durable": options.durable,
                "postgresql_settings": {name.lower(): value for name, value in options.settings.items()},
            }
            for node in resources.with_role("database")
        }

    def connection(
        self, options: PostgreSQL, resources: Resources, keystone: Host, secrets: Mapping[str, str]
    ) -> Connection:
        node = nearest_node(resources, keystone)
        return Connection(url=url("postgresql+psycopg2", node, PORT, secrets["database_password"]))

    def version_command(self) -> tuple[str, ...]:
        return ("runuser", "--user=postgres", "--", "psql", "-XAtq", "--command=SHOW server_version", "postgres")
