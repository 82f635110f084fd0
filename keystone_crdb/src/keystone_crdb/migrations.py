"""Keystone's migrations, one by one, on an empty database: which one fails, at which statement, in whose words.

``keystone-manage db_sync`` runs them all as one; this runs the same files, in the same order, through the same engine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import keystone.conf
import sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from keystone.common import sql
from keystone.common.sql import upgrades
from oslo_config.cfg import ConfigFileParseError, ConfigFilesNotFoundError
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

Outcome = Literal["passed", "failed", "not tried"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One revision. ``statement`` and ``message`` are those of a failure: the SQL, and the server's words."""

    revision: str
    branch: str
    title: str
    outcome: Outcome
    seconds: float = 0.0
    statement: str = ""
    message: str = ""


class NotRun(Exception):
    """No migration was tried; the message says why."""


def main(config_files: Sequence[str], *, as_json: bool) -> int:
    """Print what came of every revision. Exit status 0 when all passed, else 1."""
    try:
        engine = _engine(config_files)
        server = _server(engine)
        _refuse_tables(engine)
    except NotRun as error:
        print(error, file=sys.stderr)
        return 1
    steps = []
    for step in run(engine):
        steps.append(step)
        if not as_json:
            print(_line(step), flush=True)
    passed = all(step.outcome == "passed" for step in steps)
    if as_json:
        report = {"server": server, "dialect": engine.dialect.name, "passed": passed}
        print(json.dumps({**report, "revisions": [asdict(step) for step in steps]}))
    else:
        print(f"{'All passed' if passed else 'Failed'} on {server}, dialect {engine.dialect.name}")
    return 0 if passed else 1


def run(engine: sqlalchemy.Engine) -> Iterator[Step]:
    """Run every revision in its own transaction; after one that fails the others are not tried."""
    config = upgrades.get_alembic_config()
    script = ScriptDirectory.from_config(config)
    failed = False
    for revision in reversed(list(script.walk_revisions())):
        step: dict[str, Any] = {
            "revision": revision.revision,
            "branch": " ".join(sorted(revision.branch_labels)),
            "title": (revision.doc or "").splitlines()[0] if revision.doc else "",
        }
        if failed:
            yield Step(**step, outcome="not tried")
            continue
        started = time.monotonic()
        error = _upgrade(engine, config, revision.revision)
        failed = error is not None
        seconds = round(time.monotonic() - started, 3)
        yield Step(**step, outcome="failed" if failed else "passed", seconds=seconds, **_explained(error))


def _upgrade(engine: sqlalchemy.Engine, config: Any, revision: str) -> Exception | None:
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except (SQLAlchemyError, DBError, CommandError) as error:
        return error
    return None


def _explained(error: Exception | None) -> dict[str, str]:
    if error is None:
        return {}
    inner = getattr(error, "inner_exception", None) or error
    statement = " ".join(str(getattr(inner, "statement", None) or "").split())
    return {"statement": statement, "message": str(getattr(inner, "orig", None) or inner).strip()}


def _engine(config_files: Sequence[str]) -> sqlalchemy.Engine:
    """The engine that Keystone itself would use. Raises `NotRun`."""
    keystone.conf.configure()
    sql.initialize()
    try:
        keystone.conf.CONF(args=[], project="keystone", default_config_files=list(config_files) or None)
        with sql.session_for_write() as session:
            engine: sqlalchemy.Engine = session.get_bind()
    except (ConfigFilesNotFoundError, ConfigFileParseError) as error:
        raise NotRun(f"The configuration cannot be read: {error}") from error
    except (SQLAlchemyError, DBError, AssertionError) as error:
        # The dialect `postgresql` asserts that the server's version is one of PostgreSQL's.
        raise NotRun(f"The database cannot be used: {type(error).__name__}: {error}") from error
    return engine


def _server(engine: sqlalchemy.Engine) -> str:
    function = "sqlite_version()" if engine.dialect.name == "sqlite" else "version()"
    with engine.connect() as connection:
        return str(connection.execute(sqlalchemy.text(f"SELECT {function}")).scalar_one())


def _refuse_tables(engine: sqlalchemy.Engine) -> None:
    tables = sqlalchemy.inspect(engine).get_table_names()
    if tables:
        raise NotRun(
            f"The database {engine.url.database!r} has {len(tables)} tables ({tables[0]}, …). Migrations are tried on "
            "an empty one only: one that fails may leave a schema that Keystone cannot use. Create another database."
        )


def _line(step: Step) -> str:
    time_s = f"{step.seconds:8.3f} s" if step.outcome != "not tried" else " " * 10
    line = f"{step.revision}  {step.branch:<9} {step.outcome:<9} {time_s}  {step.title}"
    return "\n".join([line, *(f"    {text}" for text in (step.statement, *step.message.splitlines()) if text)])
