"""A real Keystone, and a real PostgreSQL under it, on the machine that runs the tests.

python = environment("2026.2")
with PostgreSQL(directory / "pg") as server:
    keystone = Keystone(directory=directory / "keystone", python=python, url=server.create("keystone"))
    keystone.db_sync().check()
    keystone.bootstrap().check()
    drive = keystone.drive(rounds=3, threads=8, seed=1)
    assert not drive.unexpected and not drive.wrong
"""

from __future__ import annotations

from tests.keystone.environments import RELEASES, environment
from tests.keystone.postgresql import PostgreSQL, missing_postgresql
from tests.keystone.service import GROUPS, Drive, Ended, Keystone

__all__ = ["GROUPS", "RELEASES", "Drive", "Ended", "Keystone", "PostgreSQL", "environment", "missing_postgresql"]
