"""The ``database`` section: one class per backend, chosen by ``backend``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from enos_crdb.config.base import Section

Settings = dict[str, str | int | float | bool]


class PostgreSQL(Section):
    """One PostgreSQL server, from Debian's packages."""

    backend: Literal["postgresql"]
    max_connections: int = Field(default=500, ge=10, le=10000)
    """Connections the server accepts; Keystone opens up to ``max_pool_size`` of them per worker."""
    shared_buffers_mb: int = Field(default=256, ge=16)
    """Memory for the page cache of the server itself."""
    durable: bool = True
    """``fsync`` and ``synchronous_commit``: false answers before the disk has the commit."""
    settings: Settings = {}
    """Any other parameter of ``postgresql.conf``, as it is."""


class _MySQLFamily(Section):
    max_connections: int = Field(default=500, ge=10, le=10000)
    """Connections the server accepts; Keystone opens up to ``max_pool_size`` of them per worker."""
    innodb_buffer_pool_mb: int = Field(default=256, ge=16)
    """Memory for InnoDB's page cache."""
    durable: bool = True
    """``innodb_flush_log_at_trx_commit`` 1 (true: every commit on disk) or 2 (false: once a second)."""
    settings: Settings = {}
    """Any other option of the ``[mysqld]`` section, as it is."""


class MariaDB(_MySQLFamily):
    """One MariaDB server, from Debian's packages."""

    backend: Literal["mariadb"]


class Galera(_MySQLFamily):
    """A MariaDB Galera cluster of at least three nodes; every commit is certified by all of them."""

    backend: Literal["galera"]
    wsrep_sync_wait: int = Field(default=0, ge=0, le=15)
    """Bit mask of statements that wait for the node to catch up first (1: reads). 0 reads may be stale."""
    wsrep_slave_threads: int = Field(default=2, ge=1, le=64)
    """Threads that apply the write sets of the other nodes."""
    gcache_mb: int = Field(default=128, ge=8)
    """Write-set cache: how much a node may miss and still rejoin without a full copy."""
    provider_options: dict[str, str] = {}
    """Any other ``wsrep_provider_options``, for instance ``evs.suspect_timeout: PT5S``."""


Database = Annotated[PostgreSQL | MariaDB | Galera, Field(discriminator="backend")]
