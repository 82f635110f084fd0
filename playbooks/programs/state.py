"""What Keystone's database holds, as numbers that can be compared; run by Keystone's own Python.

    state.py ACCOUNT

Prints one JSON object: rows and digest of each table, and a digest of all of them.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import pwd
import sys
from typing import Any

LEFT_BY_LOGINS = {"user": ("last_active_at",)}
"""Columns that the first login of a day writes; every deployment is checked with one before it is used."""


def describe(account: str) -> None:
    """Through Keystone's own connection, as the user that Keystone runs as: the same question on every backend."""
    _become(account)
    import sqlalchemy as sa

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read("/etc/keystone/keystone.conf")
    engine = sa.create_engine(parser["database"]["connection"].replace("$$", "$"), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        tables = {name: _rows(sa, connection, name) for name in sorted(sa.inspect(connection).get_table_names())}
    rows = {name: len(found) - 1 for name, found in tables.items()}
    contents = {name: _digest(found) for name, found in tables.items()}
    print(json.dumps({"rows": rows, "contents": contents, "digest": _digest(contents)}))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _become(account: str) -> None:
    entry = pwd.getpwnam(account)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _rows(sa: Any, connection: Any, name: str) -> list[Any]:
    """The columns of a table, then its rows in an order that does not depend on the server."""
    found = connection.execute(sa.select(sa.text("*")).select_from(sa.table(name)))
    columns = list(found.keys())
    kept = [number for number, column in enumerate(columns) if column not in LEFT_BY_LOGINS.get(name, ())]
    return [columns, *sorted(str([row[number] for number in kept]) for row in found)]


if __name__ == "__main__":
    describe(sys.argv[1])
