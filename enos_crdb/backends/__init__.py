"""Database backends: what Ansible, Keystone and `collect` must know of each. Values only, no effects."""

from __future__ import annotations

from typing import Any

from enos_crdb.backends.cockroachdb import CockroachDBBackend
from enos_crdb.backends.contract import DATABASE_PROGRAMS, Backend, Connection, File
from enos_crdb.backends.galera import GaleraBackend
from enos_crdb.backends.mariadb import MariaDBBackend
from enos_crdb.backends.postgresql import PostgreSQLBackend

BACKENDS: dict[str, Backend[Any]] = {
    backend.name: backend for backend in (PostgreSQLBackend(), MariaDBBackend(), GaleraBackend(), CockroachDBBackend())
}
"""Every backend by its name in the deployment file."""

__all__ = ["BACKENDS", "DATABASE_PROGRAMS", "Backend", "Connection", "File"]
