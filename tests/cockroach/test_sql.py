"""SQL of one node: what Keystone's package and the wire double believe."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cockroach.conftest import Steps
from tests.cockroach.server import Node, single_node
from tests.cockroach.verdicts import Executable

pytestmark = [pytest.mark.cockroach]
decides = pytest.mark.decides

Saw = Callable[[str], None]
Line = tuple[int, int]


def _well(answers: list[dict[str, Any]]) -> None:
    """Nothing failed; what the server said, otherwise."""
    bad = [answer for answer in answers if answer["message"]]
    assert not bad, f"{bad[0]['sqlstate']} {bad[0]['message']}"


@decides("version-command")
def test_the_version_command_tells_release_and_distribution(executable: Executable, saw: Saw) -> None:
    saw(f"{executable.build_tag}, {executable.distribution}")
    assert executable.build_tag.startswith("v")
    assert executable.distribution == "CCL"


@decides("banner")
def test_the_banner_tells_the_release(ask: Steps, executable: Executable, saw: Saw) -> None:
    answer = ask("a", "SELECT version()")[0]
    banner = answer["rows"][0][0]
    saw(banner)
    assert banner.startswith("CockroachDB")
    assert f" {executable.build_tag} " in banner


@decides("drop-unique-constraint")
def test_a_unique_constraint_cannot_be_dropped_as_one_before_26_2(ask: Steps, line: Line, saw: Saw) -> None:
    made, dropped = ask(
        "a", "CREATE TABLE dropped (a INT PRIMARY KEY, b INT, CONSTRAINT dropped_b UNIQUE (b))",
        "a", "ALTER TABLE dropped DROP CONSTRAINT dropped_b",
    )  # fmt: skip
    _well([made])
    saw(f"{dropped['sqlstate']} {dropped['message']}".strip() or "dropped")
    if line >= (26, 2):
        assert not dropped["sqlstate"]
    else:
        assert dropped["sqlstate"] == "0A000"
        assert "DROP INDEX CASCADE" in dropped["message"]


@decides("drop-index-cascade")
def test_a_unique_constraint_is_dropped_as_an_index(ask: Steps, line: Line, saw: Saw) -> None:
    locked = " WITH (schema_locked = true)" if line >= (25, 3) else ""
    saw("the table was schema_locked" if locked else "this release does not lock tables")
    answers = ask(
        "a", f"CREATE TABLE indexed (a INT PRIMARY KEY, b INT, CONSTRAINT indexed_b UNIQUE (b)){locked}",
        "a", "DROP INDEX indexed@indexed_b CASCADE",
        "a", "INSERT INTO indexed VALUES (1, 1), (2, 1)",
    )  # fmt: skip
    _well(answers)


@decides("schema-locked-altered")
def test_a_table_as_the_release_makes_it_is_altered(ask: Steps, line: Line, saw: Saw) -> None:
    answers = ask(
        "a", "CREATE TABLE altered (a INT PRIMARY KEY, b INT DEFAULT 1)",
        "a", "SHOW CREATE TABLE altered",
        "a", "ALTER TABLE altered ADD CONSTRAINT altered_b UNIQUE (b)",
        "a", "ALTER TABLE altered ADD COLUMN c VARCHAR(5) DEFAULT '1.0' NOT NULL",
        "a", "ALTER TABLE altered ALTER COLUMN b DROP DEFAULT",
        "a", "CREATE INDEX altered_c ON altered (c)",
    )  # fmt: skip
    saw("made schema_locked" if "schema_locked" in str(answers[1]["rows"]) else "not made schema_locked")
    _well(answers)


@decides("ddl-commits")
def test_ddl_commits_the_open_transaction(ask: Steps, only_from: Callable[[int, int], None], saw: Saw) -> None:
    only_from(25, 2)
    answers = ask(
        "a", "SHOW autocommit_before_ddl",
        "a", "CREATE TABLE committed (a INT PRIMARY KEY)",
        "a", "BEGIN",
        "a", "INSERT INTO committed VALUES (1)",
        "a", "CREATE TABLE committed_too (a INT PRIMARY KEY)",
        "b", "SELECT count(*) FROM committed",
        "a", "ROLLBACK",
        "b", "SELECT count(*) FROM committed_too",
    )  # fmt: skip
    saw(f"autocommit_before_ddl is {answers[0]['rows']}")
    assert answers[5]["rows"] == [["1"]], answers
    assert answers[7]["rows"] == [["0"]], answers


@decides("serial")
def test_serial_is_a_unique_64_bit_number(ask: Steps, saw: Saw) -> None:
    answers = ask(
        "a", "CREATE TABLE counted (a SERIAL PRIMARY KEY)",
        "a", "SELECT data_type, column_default FROM information_schema.columns WHERE table_name = 'counted'",
    )  # fmt: skip
    _well(answers)
    saw(str(answers[1]["rows"]))
    assert answers[1]["rows"] == [["bigint", "unique_rowid()"]]


@decides("23505")
def test_a_duplicate_names_its_constraint(ask: Steps, saw: Saw) -> None:
    duplicate = ask(
        "a", "CREATE TABLE twice (a INT PRIMARY KEY, b VARCHAR(9), CONSTRAINT twice_b UNIQUE (b))",
        "a", "INSERT INTO twice VALUES (1, 'x')",
        "a", "INSERT INTO twice VALUES (2, 'x')",
    )[2]  # fmt: skip
    saw(f"{duplicate['sqlstate']} {duplicate['message']} constraint={duplicate.get('constraint')!r}")
    assert duplicate["sqlstate"] == "23505"
    assert duplicate["constraint"] == "twice_b"
    assert 'duplicate key value violates unique constraint "twice_b"' in duplicate["message"]


@decides("23503")
def test_a_missing_parent_names_its_constraint(ask: Steps, saw: Saw) -> None:
    refused = ask(
        "a", "CREATE TABLE parent (a INT PRIMARY KEY)",
        "a", "CREATE TABLE child (a INT, CONSTRAINT child_a FOREIGN KEY (a) REFERENCES parent (a))",
        "a", "INSERT INTO child VALUES (7)",
    )[2]  # fmt: skip
    saw(f"{refused['sqlstate']} {refused['message']} constraint={refused.get('constraint')!r}")
    assert refused["sqlstate"] == "23503"
    assert refused["constraint"] == "child_a"


@decides("42P01")
def test_what_is_missing_has_postgresqls_codes(ask: Steps, saw: Saw) -> None:
    table, variable = ask("a", "SELECT * FROM nothing_like_it", "a", "SET no_such_variable_of_ours = 1")
    database = ask("a", "SELECT * FROM t", database="no_such_database")[0]
    for answer in (table, variable, database):
        saw(f"{answer['sqlstate']} {answer['message']}")
    assert table["sqlstate"] == "42P01"
    assert variable["sqlstate"] == "42704"
    # CockroachDB may let a session begin in a database that does not exist, and complain about the table.
    assert database["sqlstate"] in ("3D000", "42P01", "")


@decides("40001")
def test_a_write_over_a_changed_row_must_be_retried(ask: Steps, saw: Saw) -> None:
    answers = ask(
        "a", "CREATE TABLE raced (a INT PRIMARY KEY, b INT)",
        "a", "INSERT INTO raced VALUES (1, 0)",
        "a", "SET statement_timeout = '30s'",
        "a", "BEGIN",
        "a", "SELECT b FROM raced WHERE a = 1",
        "b", "UPDATE raced SET b = 1 WHERE a = 1",
        "a", "UPDATE raced SET b = 2 WHERE a = 1",
        "a", "COMMIT",
    )  # fmt: skip
    failed = [answer for answer in answers[5:] if answer["sqlstate"] not in ("", "25P02")]
    saw("; ".join(f"{answer['sqlstate']} {answer['message']}" for answer in failed) or "no conflict at all")
    assert [answer["sqlstate"] for answer in failed] == ["40001"]
    assert "restart transaction" in failed[0]["message"]


@decides("40001-read")
def test_a_read_must_be_retried(ask: Steps, saw: Saw) -> None:
    answers = ask(
        "a", "CREATE TABLE merely_read (a INT PRIMARY KEY)",
        "a", "SET inject_retry_errors_enabled = true",
        "a", "BEGIN",
        "a", "SELECT * FROM merely_read",
    )  # fmt: skip
    saw(f"{answers[3]['sqlstate']} {answers[3]['message']}")
    assert answers[3]["sqlstate"] == "40001"


@decides("read-committed-level")
def test_the_plugin_asks_for_read_committed(
    probing: Node, probe: Callable[..., Any], only_from: Callable[[int, int], None], saw: Saw
) -> None:
    only_from(24, 1)
    url = probing.url("probe", user="root") + "&plugin=keystone_crdb&crdb_isolation=READ_COMMITTED"
    level, setting = probe("engine", url, "SHOW transaction_isolation", "SHOW default_transaction_isolation")
    saw(f"transaction_isolation {level}, default {setting}")
    assert (level, setting) == ("read committed", "read committed")


@decides("session-settings")
def test_session_settings_are_what_is_shown(probing: Node, ask: Steps, probe: Callable[..., Any], saw: Saw) -> None:
    answers = ask(
        "a", "CREATE USER IF NOT EXISTS settled",
        "a", "ALTER ROLE settled SET default_transaction_isolation = 'read committed'",
        "a", "ALTER ROLE settled SET statement_timeout = '77s'",
        "a", "SHOW DEFAULT SESSION VARIABLES FOR ROLE settled",
    )  # fmt: skip
    _well(answers)
    saw(str(answers[3]["rows"]))
    url = (
        probing.url("probe", user="settled") + "&plugin=keystone_crdb&crdb_set_idle_in_transaction_session_timeout=88s"
    )
    shown = probe("engine", url, "SHOW statement_timeout", "SHOW idle_in_transaction_session_timeout")
    saw(str(shown))
    assert [_seconds(value) for value in shown] == [77, 88]


def _seconds(shown: str) -> float:
    """A duration as SHOW writes it: `77s`, `77000`, `00:01:17`."""
    if ":" in shown:
        hours, minutes, seconds = shown.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    number = shown.rstrip("ms")
    return float(number) if shown.endswith("s") and not shown.endswith("ms") else float(number) / 1000


@decides("buffered-writes")
def test_writes_are_buffered_by_default_from_26_2(ask: Steps, line: Line, saw: Saw) -> None:
    shown, changed = ask(
        "a", "SHOW kv_transaction_buffered_writes_enabled",
        "a", "SET kv_transaction_buffered_writes_enabled = off",
    )  # fmt: skip
    saw(f"{shown['rows']} {shown['message']}")
    if line < (25, 2):
        assert shown["sqlstate"] == "42704"
        return
    _well([shown, changed])
    assert shown["rows"] == [["on" if line >= (26, 2) else "off"]]


@decides("lost-connection")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_server_is_a_lost_connection(
    executable: Executable, scratch: Path, probe: Callable[..., Any], how: signal.Signals, saw: Saw
) -> None:
    with single_node(executable.path, scratch / f"stopped-{how.name}") as node:
        url = f"postgresql://root@127.0.0.1:{node.port}/defaultdb?sslmode=disable"
        # The statement is running when the server ends.
        killer = subprocess.Popen(["sh", "-c", f"sleep 2; kill -{how.value} {node.process.pid}"])  # type: ignore[union-attr]
        sleep = {"session": "a", "url": url, "sql": "SELECT pg_sleep(60)"}
        lost, refused = probe("sql", input=json.dumps([sleep, {**sleep, "session": "b", "sql": "SELECT 1"}]))
        killer.wait()
    for answer in (lost, refused):
        saw(f"{how.name}: {answer.get('failed')} {answer['sqlstate']} {answer['message'][:160]}")
    assert lost["sqlstate"] in ("", "57P01", "57P02", "57P03")
    assert lost["message"]
    assert refused["sqlstate"] in ("", "57P01", "57P02", "57P03")
