"""Ask a server in the way Keystone does, with Keystone's Python; prints one JSON value.

``probe.py sql``: standard input is a list of steps ``{"session": name, "url": libpq's, "sql": text}``; a session is
opened by its first step. ``probe.py reflect URL TABLE`` and ``probe.py engine URL STATEMENT...`` go through SQLAlchemy.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def steps(wanted: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The outcome of each step, in their order. A session that is lost stays so."""
    sessions: dict[str, Any] = {}
    return [_step(step, sessions) for step in wanted]


def _step(step: dict[str, str], sessions: dict[str, Any]) -> dict[str, Any]:
    import psycopg2

    try:
        if step["session"] not in sessions:
            sessions[step["session"]] = psycopg2.connect(step["url"])
            sessions[step["session"]].autocommit = True
        with sessions[step["session"]].cursor() as cursor:
            cursor.execute(step["sql"])
            rows = cursor.fetchall() if cursor.description else []
        return {"rows": [[str(value) for value in row] for row in rows], "sqlstate": "", "message": ""}
    except psycopg2.Error as error:
        diag = error.diag
        return {
            "rows": [],
            "sqlstate": error.pgcode or "",
            "message": str(error).strip(),
            "failed": type(error).__name__,
            "constraint": diag.constraint_name or "",
            "table": diag.table_name or "",
            "detail": diag.message_detail or "",
        }


def reflect(url: str, table: str) -> dict[str, Any]:
    """What SQLAlchemy's inspector finds."""
    import sqlalchemy

    found = sqlalchemy.inspect(sqlalchemy.create_engine(url))
    return {
        "columns": {column["name"]: str(column["type"]) for column in found.get_columns(table)},
        "primary_key": found.get_pk_constraint(table)["constrained_columns"],
        "foreign_keys": sorted(",".join(key["constrained_columns"]) for key in found.get_foreign_keys(table)),
        "unique": sorted(str(item["name"]) for item in found.get_unique_constraints(table)),
        "indexes": sorted(str(item["name"]) for item in found.get_indexes(table)),
    }


def engine(url: str, statements: list[str]) -> list[str]:
    """The first value of each statement, in one session of an engine made from `url`."""
    import sqlalchemy

    with sqlalchemy.create_engine(url).connect() as connection:
        return [str(connection.execute(sqlalchemy.text(statement)).scalar()) for statement in statements]


def schema(url: str) -> dict[str, Any]:
    """Table -> its unique column sets and foreign keys, whatever their names are."""
    import sqlalchemy

    found = sqlalchemy.inspect(sqlalchemy.create_engine(url))
    tables: dict[str, Any] = {}
    for table in sorted(found.get_table_names()):
        sets = {tuple(sorted(item["column_names"])) for item in found.get_unique_constraints(table)}
        sets |= {
            tuple(sorted(filter(None, item["column_names"]))) for item in found.get_indexes(table) if item["unique"]
        }
        keys = {(tuple(key["constrained_columns"]), key["referred_table"]) for key in found.get_foreign_keys(table)}
        tables[table] = {
            "columns": sorted(column["name"] for column in found.get_columns(table)),
            "primary_key": found.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(",".join(names) for names in sets),
            "foreign_keys": sorted(f"{','.join(names)} -> {other}" for names, other in keys),
        }
    return tables


def main() -> None:
    verb, *arguments = sys.argv[1:]
    if verb == "sql":
        print(json.dumps(steps(json.load(sys.stdin))))
    elif verb == "reflect":
        print(json.dumps(reflect(*arguments)))
    elif verb == "schema":
        print(json.dumps(schema(*arguments)))
    else:
        print(json.dumps(engine(arguments[0], arguments[1:])))


if __name__ == "__main__":
    main()
