"""Bring Keystone's database to its schema, admin account, regions and endpoints; run by Keystone's own Python.

`converge` is called with the request of the Ansible role and prints one JSON object. Everything is done by
`keystone-manage`: its modules are imported once (two seconds) and every command runs in a fork of this process.
"""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import importlib.metadata
import json
import os
import pwd
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO, Any

STATE = Path("/var/lib/keystone")
CONFIGURATION = ("--config-file=/etc/keystone/keystone.conf", "--config-file=/etc/keystone/db_sync.conf")
"""For db_sync, which some databases want to run in another transaction mode."""
TABLES = ("alembic_version", "role", "implied_role", "system_assignment", "region", "service", "endpoint")


def converge(request: dict[str, Any]) -> None:
    """Do what is missing; afterwards a digest of the database's state spares the next call the imports."""
    _become_keystone()
    with (STATE / "schema.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = STATE / "schema.json"
        before = _state(request)
        if before and marker.exists() and marker.read_text() == _seal(request, before):
            print(json.dumps({"changed": False, "commands": []}))
            return
        commands = _manage_all(request)
        after = _state(request)
        marker.write_text(_seal(request, after))
        print(json.dumps({"changed": after != before, "commands": commands}))


def _become_keystone() -> None:
    account = pwd.getpwnam("keystone")
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def _state(request: dict[str, Any]) -> list[Any]:
    """What db_sync and bootstrap write, as it is in the database now; empty without a schema."""
    import sqlalchemy as sa

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read("/etc/keystone/keystone.conf")
    url = parser["database"]["connection"].replace("$$", "$")
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with _connected(engine, sa.exc.OperationalError) as connection:
        present = set(sa.inspect(connection).get_table_names())
        if not {*TABLES, "local_user", "password"} <= present:
            return []
        rows: list[Any] = []
        for name in TABLES:
            found = connection.execute(sa.select(sa.text("*")).select_from(sa.table(name)))
            rows.append([name, *sorted(str(tuple(row)) for row in found)])
        user, password = sa.table("local_user", *map(sa.column, ("id", "name"))), _password_table(sa)
        query = sa.select(password.c.password_hash).join(user, user.c.id == password.c.local_user_id)
        found = connection.execute(query.where(user.c.name == request["username"]))
        rows.append(["password", *sorted(str(row[0]) for row in found)])
        return rows


def _connected(engine: Any, error_class: type[Exception]) -> Any:
    try:
        return engine.connect()
    except error_class as error:
        sys.exit(f"The database refused Keystone's connection: {error.__cause__ or error}")


def _password_table(sa: Any) -> Any:
    return sa.table("password", sa.column("local_user_id"), sa.column("password_hash"))


def _seal(request: dict[str, Any], state: list[Any]) -> str:
    """A digest of what was asked, of Keystone's version and of the database's state."""
    content = [request, importlib.metadata.version("keystone"), state]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _manage_all(request: dict[str, Any]) -> list[str]:
    if request["memcached"]:
        _flush(request["memcached"])
    from keystone.cmd import bootstrap, cli

    del bootstrap  # imported here so that the forks need not
    bootstraps = (_bootstrap_arguments(request, endpoint) for endpoint in request["endpoints"])
    commands = [[*CONFIGURATION, "db_sync"], *bootstraps]
    for arguments in commands:
        _manage(cli, arguments, request["password"])
    return [" ".join(arguments) for arguments in commands]


def _bootstrap_arguments(request: dict[str, Any], endpoint: dict[str, str]) -> list[str]:
    return [
        "bootstrap",
        f"--bootstrap-username={request['username']}",
        "--bootstrap-project-name=admin",
        "--bootstrap-role-name=admin",
        "--bootstrap-service-name=keystone",
        f"--bootstrap-region-id={endpoint['region']}",
        *(f"--bootstrap-{interface}-url={endpoint['url']}" for interface in ("public", "internal", "admin")),
    ]


def _manage(cli: Any, arguments: list[str], password: str) -> None:
    """Run `keystone-manage` in a fork; on failure end this process with the last lines of what it printed."""
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            _child(cli, arguments, password, output)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != 0:
            output.seek(0)
            last = "".join(output.readlines()[-15:]).replace(password, "********")
            command = next(word for word in arguments if not word.startswith("--"))
            sys.exit(f"keystone-manage {command} ended with status {status}.\n{last}")


def _child(cli: Any, arguments: list[str], password: str, output: IO[str]) -> None:
    status = 1
    try:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        os.environ["OS_BOOTSTRAP_PASSWORD"] = password
        cli.main(argv=["keystone-manage", *arguments])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        # A fork must never return into the code of its parent, whatever was raised.
        if sys.exc_info()[1] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _flush(server: str) -> None:
    """Forget what the cache knows of a database that may have been replaced."""
    host, port = server.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"flush_all\r\n")
        connection.recv(64)
