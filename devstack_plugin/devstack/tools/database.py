"""Wait for Keystone's database, empty it, or wait until a region is in its catalogue.

Run by the Python of Keystone's virtualenv. The URL comes from keystone.conf: its password is in no command line.
"""

from __future__ import annotations

import argparse
import configparser
import sys
import time
from collections.abc import Callable, Iterable

import sqlalchemy as sa

INTERFACES = 3
"""Endpoints that `keystone-manage bootstrap` makes for a region: public, internal and admin."""
POSTGRESQL_REFUSED = "password authentication failed"
MARIADB_REFUSED = 1045
ENUMERATIONS = """
    SELECT typname FROM pg_catalog.pg_type JOIN pg_catalog.pg_namespace ON pg_namespace.oid = typnamespace
    WHERE typtype = 'e' AND nspname = 'public' AND typname NOT LIKE 'crdb_internal%'
"""
"""Types that Keystone's migrations make; CockroachDB's own is that of the regions of a database."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("--region")
    parser.add_argument("operation", choices=("wait", "empty", "registered"))
    request = parser.parse_args()
    engine = sa.create_engine(
        _url(request.config_file), poolclass=sa.pool.NullPool, connect_args={"connect_timeout": 10}
    )
    _until(lambda: _answers(engine), request.timeout_s, "the database does not answer")
    if request.operation == "empty":
        empty(engine)
    elif request.operation == "registered":
        lack = f"no Keystone made the endpoints of region {request.region}; is it in ENOS_CRDB_ENDPOINTS there?"
        _until(lambda: _registered(engine, request.region), request.timeout_s, lack)


def _url(path: str) -> str:
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",), allow_no_value=True)
    with open(path, encoding="utf-8") as stream:
        parser.read_file(stream)
    return parser["database"]["connection"].replace("$$", "$")


def _until(attempt: Callable[[], str], timeout_s: float, lack: str) -> None:
    """Repeat `attempt` until it says "" instead of what is still missing; else end this process."""
    deadline = time.monotonic() + timeout_s
    while missing := attempt():
        if time.monotonic() > deadline:
            sys.exit(f"enos_crdb: after {timeout_s:g} s, {lack} ({missing})")
        time.sleep(1)


def _answers(engine: sa.Engine) -> str:
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except sa.exc.OperationalError as error:
        if POSTGRESQL_REFUSED in str(error.orig) or error.orig.args[:1] == (MARIADB_REFUSED,):
            sys.exit(f"enos_crdb: the database refuses Keystone's account: {error.orig}")
        return str(error.orig).strip()
    return ""


def _registered(engine: sa.Engine, region: str) -> str:
    query = sa.text("SELECT count(DISTINCT interface) FROM endpoint WHERE region_id = :region")
    try:
        with engine.connect() as connection:
            found = connection.execute(query, {"region": region}).scalar_one()
    except (sa.exc.OperationalError, sa.exc.ProgrammingError) as error:
        return str(error.orig).strip()  # no table yet, or a server that restarts
    return "" if found == INTERFACES else f"{found} of {INTERFACES} endpoints"


def empty(engine: sa.Engine) -> None:
    """Drop all tables, and the types that were made for them; the database, its account and rights stay."""
    tables = sa.inspect(engine).get_table_names()
    # CockroachDB refuses some schema changes in a transaction with others.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "mysql":
            connection.execute(sa.text("SET FOREIGN_KEY_CHECKS = 0"))
        if tables:
            connection.execute(sa.text(f"DROP TABLE {_quoted(engine, tables)} CASCADE"))
        if engine.dialect.name != "mysql" and (types := connection.execute(sa.text(ENUMERATIONS)).scalars().all()):
            connection.execute(sa.text(f"DROP TYPE {_quoted(engine, types)}"))


def _quoted(engine: sa.Engine, names: Iterable[str]) -> str:
    return ", ".join(engine.dialect.identifier_preparer.quote(name) for name in names)


if __name__ == "__main__":
    main()
