"""The ``database`` section: one class per backend, chosen by ``backend``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from enos_crdb.config.base import Section
from enos_crdb.config.cockroachdb import CockroachDB
from enos_crdb.config.settings import Settings, refuse_unsafe

POSTGRESQL_OWN: Mapping[str, str] = {
    "listen_addresses": "the network `database`",
    "port": "the network `database`",
    "max_connections": "`max_connections`",
    "shared_buffers": "`shared_buffers_mb`",
    "fsync": "`durable`",
    "synchronous_commit": "`durable`",
}
"""Parameters that are decided elsewhere in the section, and where."""
MYSQL_OWN: Mapping[str, str] = {
    "bind_address": "the network `database`",
    "port": "the network `database`",
    "datadir": "the Ansible role",
    "socket": "the Ansible role",
    "skip_name_resolve": "the Ansible role",
    "max_connections": "`max_connections`",
    "innodb_buffer_pool_size": "`innodb_buffer_pool_mb`",
    "innodb_flush_log_at_trx_commit": "`durable`",
}
GALERA_OWN: Mapping[str, str] = {
    **MYSQL_OWN,
    "wsrep_sync_wait": "`wsrep_sync_wait`",
    "wsrep_slave_threads": "`wsrep_slave_threads`",
    "wsrep_provider_options": "`provider_options` and `gcache_mb`",
    **dict.fromkeys(
        (
            "binlog_format",
            "default_storage_engine",
            "innodb_autoinc_lock_mode",
            "wsrep_cluster_address",
            "wsrep_cluster_name",
            "wsrep_node_address",
            "wsrep_node_name",
            "wsrep_on",
            "wsrep_provider",
            "wsrep_sst_method",
            "wsrep_sst_receive_address",
        ),
        "the cluster itself",
    ),
}
PROVIDER_OWN: Mapping[str, str] = {
    "gcache.size": "`gcache_mb`",
    **dict.fromkeys(
        ("gmcast.listen_addr", "ist.recv_addr", "ist.recv_bind", "base_host", "base_port"), "the network `database`"
    ),
}


def _postgresql(values: Settings) -> Settings:
    refuse_unsafe(values, r"[A-Za-z_][A-Za-z0-9_.]*", POSTGRESQL_OWN)
    return values


def _mysql(values: Settings) -> Settings:
    refuse_unsafe(values, r"[A-Za-z_][A-Za-z0-9_.-]*", MYSQL_OWN)
    return values


def _galera(values: Settings) -> Settings:
    refuse_unsafe(values, r"[A-Za-z_][A-Za-z0-9_.-]*", GALERA_OWN)
    return values


def _provider(values: dict[str, str]) -> dict[str, str]:
    refuse_unsafe(values, r"[a-z][a-z0-9_.]*", PROVIDER_OWN)
    for name, value in values.items():
        if ";" in value:
            raise ValueError(f"the value of '{name}' may not hold ';': write one key per option")
    return values


class PostgreSQL(Section):
    """One PostgreSQL server, from Debian's packages."""

    backend: Literal["postgresql"]
    max_connections: int = Field(default=500, ge=10, le=10000)
    """Most connections that the server accepts; Keystone opens up to ``max_pool_size`` per worker."""
    shared_buffers_mb: int = Field(default=256, ge=16)
    """Memory for the server's own page cache, in MiB."""
    durable: bool = True
    """``fsync`` and ``synchronous_commit``. With ``false``, the server answers before the commit is on disk."""
    settings: Annotated[Settings, AfterValidator(_postgresql)] = {}
    """Any other parameter of ``postgresql.conf``, unchanged. ``ssl`` is off unless it is set here."""


class _MySQLFamily(Section):
    max_connections: int = Field(default=500, ge=10, le=10000)
    """Most connections that the server accepts; Keystone opens up to ``max_pool_size`` per worker."""
    innodb_buffer_pool_mb: int = Field(default=256, ge=16)
    """Memory for InnoDB's page cache, in MiB."""
    durable: bool = True
    """``innodb_flush_log_at_trx_commit``: 1 with ``true`` (every commit on disk), 2 with ``false`` (once a second)."""


class MariaDB(_MySQLFamily):
    """One MariaDB server, from Debian's packages."""

    backend: Literal["mariadb"]
    settings: Annotated[Settings, AfterValidator(_mysql)] = {}
    """Any other option of the ``[mysqld]`` section, unchanged."""


class Galera(_MySQLFamily):
    """A MariaDB Galera cluster of at least three nodes; every commit is certified by all of them."""

    backend: Literal["galera"]
    wsrep_sync_wait: int = Field(default=0, ge=0, le=15)
    """Bit mask of the statements that wait until the node has caught up (1: reads). With 0, reads may be stale."""
    wsrep_slave_threads: int = Field(default=2, ge=1, le=64)
    """Threads that apply the write sets of the other nodes."""
    gcache_mb: int = Field(default=128, ge=8)
    """Size of the write-set cache, in MiB: how much a node may miss and still rejoin without a full copy."""
    provider_options: Annotated[dict[str, str], AfterValidator(_provider)] = {}
    """Any other ``wsrep_provider_options``, for instance ``evs.suspect_timeout: PT5S``."""
    settings: Annotated[Settings, AfterValidator(_galera)] = {}
    """Any other option of the ``[mysqld]`` section, unchanged."""


Database = Annotated[PostgreSQL | MariaDB | Galera | CockroachDB, Field(discriminator="backend")]
