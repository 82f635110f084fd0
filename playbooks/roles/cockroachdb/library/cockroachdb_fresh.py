#!/usr/bin/python
"""Ansible module: keep the fresh state of Keystone's database, and bring it back, compared row by row."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cockroachdb_client import NODE, Client, Refused, client, identifier, literal
from ansible.module_utils.cockroachdb_schema import OWNER, globals_, ownership, wrong_globals, zoning

DOCUMENTATION = r"""
module: cockroachdb_fresh
short_description: Keep and bring back the fresh state of a database
description:
  - The rows are copied into a schema of the same database. C(rows) empties every table (TRUNCATE, so that no deleted
    version of a row is left to be read over) and writes them back, parents before children.
  - C(backup) restores a backup beside the database and puts it in its place only when it is right.
  - C(auto) tries both once, when the state is kept, and remembers the faster one that worked.
options:
  node: {type: dict, required: true, description: The node that is asked.}
  keystone: {type: dict, required: true, description: 'database, user, zone and multi_region.'}
  state: {type: str, required: true, choices: [kept, fresh], description: Keep the state, or bring it back.}
  by: {type: str, default: auto, choices: [auto, rows, backup], description: How it comes back.}
  replace: {type: bool, default: false, description: Whether a state that was kept earlier is replaced.}
author: enos_crdb
"""

EXAMPLES = r"""
- name: Reset
  cockroachdb_fresh: {node: {address: 10.0.0.1}, keystone: {database: keystone, user: keystone}, state: fresh}
"""

RETURN = r"""
about: {description: 'Rows of each table, how they come back, how long that took.', type: dict, returned: always}
took_s: {description: 'How long the database took to become fresh, in seconds.', type: float, returned: for state fresh}
"""

KEPT = "enos_crdb_fresh"
"""Schema that holds the copies, and name of the backup."""
ABOUT = f'{KEPT}."_about"'
TABLES = (
    "SELECT table_name FROM information_schema.tables "
    "WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY table_name"
)
REFERENCES = (
    "SELECT conrelid::regclass::text AS child, confrelid::regclass::text AS parent "
    "FROM pg_catalog.pg_constraint WHERE contype = 'f'"
)


class Stale(Exception):
    """The database is not as it was kept."""


class Database:
    """Keystone's database on one node."""

    def __init__(self, node: Client, name: str) -> None:
        self.node = node
        self.name = name

    def do(self, *statements: str) -> None:
        if statements:
            self.node.sql(*statements, database=self.name, timeout_s=600)

    def rows(self, query: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.node.rows(query, database=self.name, timeout_s=300)
        return found

    def tables(self) -> list[str]:
        return [row["table_name"] for row in self.rows(TABLES)]

    def counts(self, tables: list[str]) -> dict[str, int]:
        """Rows of each table."""
        return self._numbers(tables, "public.{0}")

    def strange(self, tables: list[str]) -> dict[str, int]:
        """Rows of each table that are not among those that were kept."""
        return self._numbers(tables, f"(SELECT * FROM public.{{0}} EXCEPT SELECT * FROM {KEPT}.{{0}}) AS d")

    def _numbers(self, tables: list[str], source: str) -> dict[str, int]:
        queries = [
            f"SELECT {literal(table)} AS name, count(*) AS rows FROM {source.format(identifier(table))}"
            for table in tables
        ]
        found = self.rows(" UNION ALL ".join(queries)) if queries else []
        return {row["name"]: int(row["rows"]) for row in found}

    def about(self) -> dict[str, Any]:
        """What was kept; empty unless all of it was."""
        schemas = self.rows(f"SELECT schema_name FROM information_schema.schemata WHERE schema_name = {literal(KEPT)}")
        if not schemas:
            return {}
        try:
            found = self.rows(f"SELECT name, value FROM {ABOUT}")
        except Refused:  # it comes last: without it the copies are incomplete
            return {}
        return {row["name"]: json.loads(row["value"]) for row in found}

    def note(self, name: str, value: Any) -> None:
        self.do(
            f"DELETE FROM {ABOUT} WHERE name = {literal(name)}",
            f"INSERT INTO {ABOUT} (name, value) VALUES ({literal(name)}, {literal(json.dumps(value))})",
        )


def ordered(tables: list[str], references: list[dict[str, str]]) -> list[str]:
    """`tables`, each after those its rows refer to."""
    parents: dict[str, set[str]] = {table: set() for table in tables}
    for row in references:
        child, parent = (row[side].split(".")[-1].strip('"') for side in ("child", "parent"))
        if child in parents and parent in parents and child != parent:
            parents[child].add(parent)
    found: list[str] = []
    while len(found) < len(tables):
        free = [table for table in tables if table not in found and parents[table] <= set(found)]
        found += free or [table for table in tables if table not in found]
    return found


def keep(database: Database) -> dict[str, int]:
    """Copy every row into the schema of copies."""
    rows = database.counts(database.tables())
    database.do(f"DROP SCHEMA IF EXISTS {KEPT} CASCADE", f"CREATE SCHEMA {KEPT}")
    filled = [identifier(table) for table, count in rows.items() if count]
    database.do(*(f"CREATE TABLE {KEPT}.{table} AS SELECT * FROM public.{table}" for table in filled))
    database.do(f"CREATE TABLE {ABOUT} (name VARCHAR(20) PRIMARY KEY, value TEXT NOT NULL)")
    return rows


def verify(database: Database, rows: dict[str, int]) -> None:
    """Raise `Stale` unless every table holds the rows that were kept, and no others."""
    tables = database.tables()
    counts = database.counts(tables)
    wrong = [
        f"{table} has {counts.get(table, 'no')} rows instead of {rows.get(table, 'no')}"
        for table in sorted({*tables, *rows})
        if counts.get(table) != rows.get(table)
    ]
    if not wrong:
        strange = database.strange([table for table, count in rows.items() if count])
        wrong = [f"{count} rows of {table} differ" for table, count in strange.items() if count]
    if wrong:
        raise Stale("; ".join(wrong[:5]))


def disconnect(database: Database, user: str) -> None:
    """End the sessions of Keystone, which connects again: a transaction left open would hold every schema change up."""
    database.node.sql(
        f"CANCEL SESSIONS IF EXISTS (SELECT session_id FROM [SHOW CLUSTER SESSIONS] WHERE user_name = {literal(user)})"
    )


def by_rows(database: Database, rows: dict[str, int], user: str) -> None:
    disconnect(database, user)
    tables = ", ".join(f"public.{identifier(table)}" for table in rows)
    database.do(f"TRUNCATE TABLE {tables} CASCADE")
    filled = [table for table, count in rows.items() if count]
    database.do(
        *(
            f"INSERT INTO public.{identifier(table)} SELECT * FROM {KEPT}.{identifier(table)}"
            for table in ordered(filled, database.rows(REFERENCES))
        )
    )
    verify(database, rows)


def place(node: Client) -> str:
    """Where the backup is: a directory of the node that was asked first, by the number the cluster knows it by."""
    own = next((row["id"] for row in node.status() if row["address"] == node.server), "1")
    return f"nodelocal://{own}/{KEPT}"


def beside(database: Database, where: str, rows: dict[str, int]) -> str:
    """Restore the backup beside the database, and compare it; its name."""
    copy = f"{database.name}_restored"
    database.node.sql(
        f"DROP DATABASE IF EXISTS {copy} CASCADE",
        f"RESTORE DATABASE {database.name} FROM LATEST IN {literal(where)} WITH new_db_name = {literal(copy)}",
        timeout_s=600,
    )
    verify(Database(database.node, copy), rows)
    return copy


def by_backup(database: Database, keystone: dict[str, Any], about: dict[str, Any]) -> None:
    """Put the restored copy in the place of the database: what Keystone uses goes only when its successor is right."""
    copy = beside(database, about["reset"]["backup"], about["rows"])
    node, user = database.node, keystone["user"]
    node.sql(
        f"DROP DATABASE {database.name} CASCADE", f"ALTER DATABASE {copy} RENAME TO {database.name}", timeout_s=600
    )
    for statements in (
        [*ownership(node, keystone), f"GRANT ALL ON ALL TABLES IN SCHEMA {database.name}.public TO {user}"],
        zoning(node, f"DATABASE {database.name}", keystone["zone"]),
    ):
        if statements:
            node.sql(*statements, timeout_s=600)
    database.note("reset", about["reset"])


def trial(database: Database, rows: dict[str, int], user: str, wanted: str) -> dict[str, Any]:
    """Try what was asked for: how long each took, why one was refused, and which is to be used. Raises `Refused`."""
    found: dict[str, Any] = {"took_s": {}, "refused": {}}
    for name in ("rows", "backup") if wanted == "auto" else (wanted,):
        started = time.monotonic()
        try:
            if name == "rows":
                by_rows(database, rows, user)
            else:
                found["backup"] = where = place(database.node)
                database.node.sql(f"BACKUP DATABASE {database.name} INTO {literal(where)}", timeout_s=600)
                started = time.monotonic()
                copy = beside(database, where, rows)
                database.node.sql(f"DROP DATABASE {copy} CASCADE", timeout_s=600)
            found["took_s"][name] = round(time.monotonic() - started, 3)
        except (Refused, Stale) as trouble:
            found["refused"][name] = str(trouble)[:500]
    if not found["took_s"]:
        raise Refused("; ".join(f"{name}: {why}" for name, why in found["refused"].items()))
    found["by"] = min(found["took_s"], key=lambda name: float(found["took_s"][name]))
    return found


def kept(database: Database, asked: dict[str, Any]) -> dict[str, Any]:
    """Keep the state unless it is kept already. Raises `Refused`."""
    about = database.about()
    statements = globals_(database.node, asked["keystone"])
    database.do(*statements)
    if wrong := wrong_globals(database.node, asked["keystone"]):
        raise Refused(f"these tables are not global, or do not exist: {', '.join(wrong)}")
    usable = {"rows", "reset"} <= set(about) and asked["by"] in ("auto", about["reset"]["by"])
    if usable and not asked["replace"]:
        return {"changed": bool(statements), "about": about}
    rows = keep(database)
    database.note("rows", rows)
    reset = trial(database, rows, asked["keystone"]["user"], asked["by"])
    database.note("reset", reset)
    return {"changed": True, "about": {"rows": rows, "reset": reset}}


def fresh(database: Database, asked: dict[str, Any]) -> dict[str, Any]:
    """Bring the state back. Raises `Refused`, `Stale`."""
    about = database.about()
    if not {"rows", "reset"} <= set(about):
        raise Refused("no fresh state was kept; `deploy` keeps it")
    started = time.monotonic()
    if about["reset"]["by"] == "rows":
        by_rows(database, about["rows"], asked["keystone"]["user"])
    else:
        by_backup(database, asked["keystone"], about)
    return {"changed": True, "about": about, "took_s": round(time.monotonic() - started, 3)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "node": NODE,
            "keystone": OWNER,
            "state": {"type": "str", "required": True, "choices": ["kept", "fresh"]},
            "by": {"type": "str", "default": "auto", "choices": ["auto", "rows", "backup"]},
            "replace": {"type": "bool", "default": False},
        }
    )
    asked = module.params
    database = Database(client(asked["node"]), asked["keystone"]["database"])
    try:
        answer = kept(database, asked) if asked["state"] == "kept" else fresh(database, asked)
    except (Refused, Stale) as trouble:
        what = "kept" if asked["state"] == "kept" else "brought back (`deploy` makes it again)"
        module.fail_json(msg=f"the fresh state of database {database.name} could not be {what}: {trouble}.")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
