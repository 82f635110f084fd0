"""The plugin's program for the database, run as on a host: by the Python of a Keystone, on a real PostgreSQL server."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enos_crdb import shipped
from tests.keystone import RELEASES, PostgreSQL, environment, missing_postgresql
from tests.keystone.postgresql import free_port

pytestmark = pytest.mark.keystone

TOOL = shipped.directory("devstack_plugin") / "devstack/tools/database.py"
ENDPOINT = "CREATE TABLE endpoint (interface text, region_id text)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    if reason := missing_postgresql():
        pytest.skip(reason)
    # Not in pytest's own directory, which the server's account may not enter.
    with PostgreSQL(Path("/var/tmp") / tmp_path_factory.mktemp("postgresql").name) as running:
        yield running


@pytest.fixture
def database(server: PostgreSQL) -> Iterator[str]:
    server.create("keystone")
    yield "keystone"
    server.drop("keystone")


def start(directory: Path, url: str, *arguments: str, timeout_s: float = 1) -> subprocess.Popen[str]:
    configuration = directory / "keystone.conf"
    configuration.write_text(f"[DEFAULT]\ndebug = false\n[database]\nconnection = {url}\n", encoding="utf-8")
    python = environment(RELEASES[-1], bare=True)
    command = [str(python), str(TOOL), f"--config-file={configuration}", f"--timeout-s={timeout_s}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(directory: Path, url: str, *arguments: str, timeout_s: float = 1) -> tuple[int, str]:
    process = start(directory, url, *arguments, timeout_s=timeout_s)
    output, error = process.communicate(timeout=60)
    return process.returncode, output + error


def tables(server: PostgreSQL, database: str) -> list[list[str]]:
    return server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=database)


def test_a_database_that_answers_is_not_waited_for(server: PostgreSQL, database: str, tmp_path: Path) -> None:
    assert run(tmp_path, server.url(database), "wait") == (0, "")


def test_a_database_that_is_silent_is_waited_for_and_named(tmp_path: Path) -> None:
    url = f"postgresql+psycopg2://keystone:s3cret@127.0.0.1:{free_port()}/keystone"
    status, said = run(tmp_path, url, "wait")
    assert status == 1
    assert "after 1 s, the database does not answer" in said
    assert "s3cret" not in said


@contextmanager
def refusing_postgresql() -> Iterator[int]:
    """Port of a double of a PostgreSQL server that refuses every password."""
    fields = b"SFATAL\0C28P01\0Mpassword authentication failed for user\0\0"
    refusal = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                while True:
                    client = listener.accept()[0]
                    while (message := client.recv(4096)) and len(message) == 8:
                        client.sendall(b"N")  # it speaks neither TLS nor GSSAPI
                    client.sendall(refusal)
                    client.close()
            except OSError:
                return  # the listener was closed: the test has ended

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])


def test_an_account_that_is_refused_is_not_waited_for(tmp_path: Path) -> None:
    with refusing_postgresql() as port:
        status, said = run(
            tmp_path, f"postgresql+psycopg2://keystone:s3cret@127.0.0.1:{port}/keystone", "wait", timeout_s=50
        )
    assert status == 1
    assert "the database refuses Keystone's account" in said
    assert "s3cret" not in said


def test_emptying_drops_tables_and_types_and_keeps_the_database(
    server: PostgreSQL, database: str, tmp_path: Path
) -> None:
    for statement in (
        "CREATE TYPE kind AS ENUM ('a')",
        "CREATE TYPE other AS ENUM ('b')",
        'CREATE TABLE "user" (id int PRIMARY KEY, kind kind)',
        'CREATE TABLE project (id int PRIMARY KEY, owner int REFERENCES "user")',
        'ALTER TABLE "user" ADD COLUMN home int REFERENCES project',
    ):
        server.sql(statement, database=database)
    assert run(tmp_path, server.url(database), "empty") == (0, "")
    assert tables(server, database) == []
    assert server.sql("SELECT typname FROM pg_type WHERE typname IN ('kind', 'other')", database=database) == []
    assert run(tmp_path, server.url(database), "empty") == (0, ""), "an empty one can be emptied"


def test_joining_waits_until_all_endpoints_of_the_region_are_there(
    server: PostgreSQL, database: str, tmp_path: Path
) -> None:
    waiting = start(tmp_path, server.url(database), "registered", "--region=here", timeout_s=30)
    server.sql(ENDPOINT, database=database)
    server.sql("INSERT INTO endpoint VALUES ('public', 'here'), ('admin', 'here')", database=database)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=3)
    server.sql("INSERT INTO endpoint VALUES ('internal', 'here')", database=database)
    assert waiting.communicate(timeout=10) == ("", "")
    assert waiting.returncode == 0


def test_a_region_that_nobody_makes_is_named(server: PostgreSQL, database: str, tmp_path: Path) -> None:
    server.sql(ENDPOINT, database=database)
    server.sql("INSERT INTO endpoint VALUES ('public', 'there')", database=database)
    status, said = run(tmp_path, server.url(database), "registered", "--region=here")
    assert status == 1
    assert "no Keystone made the endpoints of region here" in said
    assert "0 of 3 endpoints" in said
