"""Statements that only CockroachDB understands, as PostgreSQL can execute them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .rules import Refusal, unknown_variable
from .statements import Statement, literal, unquoted
from .versions import (
    AUTOCOMMIT_IS_DEFAULT,
    OWN_VARIABLES,
    READ_COMMITTED_IS_ENABLED,
    Version,
    knows,
)

NAMESPACE = "crdb"
"""PostgreSQL keeps variables that it does not know when their name has a dot: `ALTER ROLE`, `SET` and `RESET` then
work on CockroachDB's own variables, transactions included."""

_SET = re.compile(
    r"^(?P<head>(?:ALTER (?:ROLE|USER|DATABASE) .+? )?(?:SET|RESET)(?: SESSION| LOCAL)? )"
    r"(?P<name>\"[^\"]+\"|[a-z_][\w.]*)(?P<rest>\s*(?:=|\bTO\b).*|\s*;?)$",
    re.IGNORECASE | re.DOTALL,
)
_NOT_VARIABLES = frozenset(
    {"time", "names", "transaction", "constraints", "characteristics", "all", "cluster", "schema"}
)
_SHOW = re.compile(r"^SHOW (?P<name>\w+)\s*;?$", re.IGNORECASE)
_ISOLATION = re.compile(r"\b(READ UNCOMMITTED|READ COMMITTED|REPEATABLE READ)\b", re.IGNORECASE)
_DROP_INDEX = re.compile(
    r"^DROP INDEX (?P<exists>IF EXISTS )?(?:(?P<table>\"[^\"]+\"|[\w.]+)@)?(?P<name>\"[^\"]+\"|[\w.]+)"
    r"(?P<behaviour> CASCADE| RESTRICT)?;?$",
    re.IGNORECASE,
)
_COLUMNS = (
    "(SELECT c.*, 'NO'::text AS is_hidden, c.data_type AS crdb_sql_type, NULL::text AS column_comment "
    "FROM information_schema.columns c) AS columns"
)


def variable_refusal(statement: Statement, version: Version) -> Refusal | None:
    """The error, when `statement` sets or shows a variable that `version` does not have."""
    for pattern in (_SET, _SHOW):
        found = pattern.match(statement.sql)
        name = unquoted(found["name"]) if found else ""
        if name and name not in _NOT_VARIABLES and not name.startswith(f"{NAMESPACE}.") and not knows(version, name):
            return unknown_variable(name)
    return None


def rewrite(statement: Statement, version: Version, ask: Callable[[str], bool]) -> str:
    """The text to execute."""
    sql = statement.sql
    if re.fullmatch(r"select\s+(?:pg_catalog\.)?version\(\)\s*;?", sql, re.IGNORECASE):
        return f"SELECT {literal(version.banner)}::text AS version"
    if statement.verb == "show":
        return _show(sql, version)
    if statement.verb in {"set", "reset", "alter", "begin", "start"}:
        return _variables(_isolation(sql, version))
    if "information_schema.columns" in sql and "crdb_sql_type" in sql:
        return re.sub(r"(?i)\bFROM\s+information_schema\.columns\b", f"FROM {_COLUMNS}", sql)
    if statement.verb == "drop":
        return _drop_index(statement, ask)
    return sql


def startup_options(parameters: Mapping[str, str], version: Version) -> tuple[Mapping[str, str], Refusal | None]:
    """The parameters of a startup message for PostgreSQL, or why CockroachDB refuses them."""
    options = parameters.get("options", "")
    names = re.findall(r"(?:-c\s*|--)([\w.]+)=", options)
    for name in names:
        if not knows(version, name.lower()):
            return parameters, unknown_variable(name)
    renamed = re.sub(r"(-c\s*|--)([\w.]+)=", lambda found: f"{found[1]}{_namespaced(found[2])}=", options)
    return ({**parameters, "options": renamed} if options else parameters), None


def autocommit_before_ddl(version: Version, setting: str | None) -> bool:
    """Whether a schema change commits what precedes it, given what the session set."""
    if setting:
        return setting.lower() in {"on", "true", "1", "yes", "t"}
    return version >= AUTOCOMMIT_IS_DEFAULT


def _namespaced(name: str) -> str:
    return f"{NAMESPACE}.{name.lower()}" if name.lower() in OWN_VARIABLES else name


def _variables(sql: str) -> str:
    found = _SET.match(sql)
    return f"{found['head']}{_namespaced(unquoted(found['name']))}{found['rest']}" if found else sql


def _isolation(sql: str, version: Version) -> str:
    """Levels that a version does not have are upgraded (vNN.N/transactions, isolation level upgrades)."""

    def upgraded(found: re.Match[str]) -> str:
        weak = found[0].upper() != "REPEATABLE READ" and version >= READ_COMMITTED_IS_ENABLED
        return "READ COMMITTED" if weak else "SERIALIZABLE"

    return _ISOLATION.sub(upgraded, sql) if "isolation" in sql.lower() else sql


def _show(sql: str, version: Version) -> str:
    found = _SHOW.match(sql)
    name = found["name"].lower() if found else ""
    if name not in OWN_VARIABLES:
        return sql
    if name == "database":
        return "SELECT current_database() AS database"
    default = {"crdb_version": version.banner}.get(name, "")
    if name == "autocommit_before_ddl":
        default = "on" if autocommit_before_ddl(version, None) else "off"
    return f"SELECT coalesce(current_setting('{NAMESPACE}.{name}', true), {literal(default)}) AS {name}"


def _drop_index(statement: Statement, ask: Callable[[str], bool]) -> str:
    """An index that backs a UNIQUE constraint is the constraint, in CockroachDB; names may be of a table."""
    found = _DROP_INDEX.match(statement.words)
    if not found:
        return statement.sql
    name, table = unquoted(found["name"]), found["table"]
    owner = f"AND conrelid = {literal(table)}::regclass" if table else ""
    condition = f"conname = {literal(name)} AND contype = 'u' {owner}"
    if not ask(f"SELECT 1 FROM pg_catalog.pg_constraint WHERE {condition}"):
        return f"DROP INDEX {found['exists'] or ''}{found['name']}{found['behaviour'] or ''}"
    return (
        "DO $double$ DECLARE place text; BEGIN "
        "SELECT conrelid::regclass::text INTO place FROM pg_catalog.pg_constraint "
        f"WHERE {condition}; EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', place, {literal(name)}); "
        "END $double$"
    )
