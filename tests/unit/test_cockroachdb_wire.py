"""The parts of the wire double that need no database. The whole of it: tests/integration/test_wire_double.py."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import cockroachdb_wire
from tests.doubles.cockroachdb_wire import KINDS, RULES, Faults, Rule, Version, messages, rewriting, rules, texts
from tests.doubles.cockroachdb_wire.faults import AT_COMMIT, AT_PING, AT_READ, AT_WRITE, Injector
from tests.doubles.cockroachdb_wire.statements import Statement, split
from tests.doubles.cockroachdb_wire.versions import OWN_VARIABLES, SHARED_VARIABLES, knows

OLD, NEW = Version(25, 4, 11), Version(26, 2, 1)

REFUSED = {
    "drop-unique-constraint": "ALTER TABLE access_rule DROP CONSTRAINT access_rule_external_id_key",
    "drop-unique-index": "DROP INDEX access_rule_external_id_key",
    "trigger-function": "CREATE OR REPLACE FUNCTION f() RETURNS trigger AS $$ BEGIN RETURN NULL; END $$",
    "trigger": "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f()",
    "deferrable-constraint": "ALTER TABLE a ADD CONSTRAINT b FOREIGN KEY (c) REFERENCES d (e) DEFERRABLE",
    "set-constraints": "SET CONSTRAINTS ALL DEFERRED",
    "inherits": "CREATE TABLE a (b int) INHERITS (c)",
    "database-template": "CREATE DATABASE a TEMPLATE b",
    "domain": "CREATE DOMAIN a AS text",
    "column-type-in-transaction": "ALTER TABLE a ALTER COLUMN b TYPE text",
}
"""A statement for each rule."""

ACCEPTED = (
    "ALTER TABLE a ADD CONSTRAINT b UNIQUE (c)",
    "ALTER TABLE a ADD CONSTRAINT b FOREIGN KEY (c) REFERENCES d (e) NOT DEFERRABLE",
    "DROP INDEX access_rule@access_rule_external_id_key CASCADE",
    "CREATE DATABASE a TEMPLATE template0",
    "CREATE FUNCTION f() RETURNS integer AS $$ SELECT 1 $$ LANGUAGE sql",
    "SET transaction_isolation = 'serializable'",
    "INSERT INTO a VALUES ('CREATE DOMAIN')",
)


def asked(answer: bool) -> Callable[[str], bool]:
    return lambda sql: answer


def first_version(rule: Rule) -> Version:
    return rule.since or Version(23, 2)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_has_a_source_and_refuses_its_statement(rule: Rule) -> None:
    assert re.search(
        r"https://(github\.com/cockroachdb|www\.cockroachlabs\.com)/|^cockroachdb/cockroach, ", rule.source
    )
    statement = Statement(REFUSED[rule.name])
    found = rules.refusal(statement, first_version(rule), transaction=True, ask=asked(True))
    assert found is not None
    assert (found.rule, found.sqlstate) == (rule.name, rule.sqlstate)
    assert "{" not in found.message + found.hint


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.until], ids=lambda rule: rule.name)
def test_a_rule_ends_with_the_version_that_lifted_it(rule: Rule) -> None:
    assert rule.until is not None
    assert not rule.applies(rule.until)
    assert rules.refusal(Statement(REFUSED[rule.name]), rule.until, transaction=True, ask=asked(True)) is None


@pytest.mark.parametrize("sql", ACCEPTED)
def test_what_no_rule_is_about_is_passed_on(sql: str) -> None:
    assert rules.refusal(Statement(sql), OLD, transaction=True, ask=asked(True)) is None


def test_a_constraint_that_is_not_unique_can_be_dropped() -> None:
    statement = Statement('ALTER TABLE "user" DROP CONSTRAINT "user_domain_id_fkey"')
    questions: list[str] = []

    def ask(sql: str) -> bool:
        questions.append(sql)
        return False

    assert rules.refusal(statement, OLD, transaction=False, ask=ask) is None
    assert questions == [
        "SELECT 1 FROM pg_catalog.pg_constraint WHERE conname = 'user_domain_id_fkey' AND contype = 'u'"
    ]


def test_the_refusal_words_are_cockroachdbs() -> None:
    found = rules.refusal(Statement(REFUSED["drop-unique-constraint"]), OLD, transaction=False, ask=asked(True))
    assert found is not None
    assert found.message == (
        'unimplemented: cannot drop UNIQUE constraint "access_rule_external_id_key" using ALTER TABLE DROP CONSTRAINT, '
        "use DROP INDEX CASCADE instead"
    )
    assert found.hint.endswith("See: https://go.crdb.dev/issue-v/42840/v25.4")


def test_versions_are_compared_as_numbers() -> None:
    assert Version.parse("v24.3") < Version.parse("25.4.11") < Version.parse("26.2.1")
    assert "CockroachDB CCL v25.4.11 " in Version.parse("25.4.11").banner
    with pytest.raises(ValueError, match="not a version"):
        Version.parse("latest")


@pytest.mark.parametrize(
    ("variable", "version", "known"),
    [
        ("autocommit_before_ddl", Version(23, 2, 30), False),
        ("autocommit_before_ddl", Version(24, 1, 0), True),
        ("create_table_with_schema_locked", Version(25, 2, 0), False),
        ("create_table_with_schema_locked", Version(25, 3, 0), True),
        ("application_name", Version(23, 2, 0), True),
        ("fsync", Version(26, 2, 1), False),
    ],
)
def test_session_variables_come_with_versions(variable: str, version: Version, known: bool) -> None:
    assert knows(version, variable) is known
    found = rewriting.variable_refusal(Statement(f"SET {variable} = on"), version)
    assert (found is None) is known
    if found is not None:
        assert (found.sqlstate, found.message) == ("42704", f'unrecognized configuration parameter "{variable}"')


def test_no_variable_is_both_shared_and_cockroachdbs_own() -> None:
    assert not SHARED_VARIABLES & OWN_VARIABLES.keys()


@pytest.mark.parametrize(
    ("sql", "executed"),
    [
        ("select version()", f"SELECT '{OLD.banner}'::text AS version"),
        ("SET autocommit_before_ddl = off", "SET crdb.autocommit_before_ddl = off"),
        ("SET SESSION autocommit_before_ddl TO off", "SET SESSION crdb.autocommit_before_ddl TO off"),
        ("RESET autocommit_before_ddl", "RESET crdb.autocommit_before_ddl"),
        ("ALTER ROLE a SET distsql = 'on'", "ALTER ROLE a SET crdb.distsql = 'on'"),
        ("SET application_name = 'distsql'", "SET application_name = 'distsql'"),
        ("SET TIME ZONE 'UTC'", "SET TIME ZONE 'UTC'"),
        (
            "SHOW autocommit_before_ddl",
            "SELECT coalesce(current_setting('crdb.autocommit_before_ddl', true), 'on') AS autocommit_before_ddl",
        ),
        ("BEGIN ISOLATION LEVEL READ UNCOMMITTED", "BEGIN ISOLATION LEVEL READ COMMITTED"),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"),
        ("DROP INDEX a@b", "DROP INDEX b"),
        ("ALTER TABLE a ADD COLUMN b text", "ALTER TABLE a ADD COLUMN b text"),
        ("SELECT 'SET distsql = on'", "SELECT 'SET distsql = on'"),
    ],
)
def test_what_only_cockroachdb_understands_is_translated(sql: str, executed: str) -> None:
    assert rewriting.rewrite(Statement(sql), OLD, asked(False)) == executed


def test_old_versions_make_every_transaction_serializable() -> None:
    sql = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED"
    assert rewriting.rewrite(Statement(sql), Version(23, 2, 30), asked(False)).endswith("LEVEL SERIALIZABLE")
    assert rewriting.rewrite(Statement(sql), Version(24, 1, 0), asked(False)) == sql


def test_an_index_that_backs_a_constraint_is_dropped_as_one() -> None:
    executed = rewriting.rewrite(Statement('DROP INDEX "trust"@"duplicate" CASCADE'), OLD, asked(True))
    assert "DROP CONSTRAINT %I CASCADE', place, 'duplicate'" in executed


def test_the_startup_options_are_translated_or_refused() -> None:
    options = "-c autocommit_before_ddl=off -c statement_timeout=1s"
    parameters, problem = rewriting.startup_options({"user": "a", "options": options}, OLD)
    assert problem is None
    assert parameters == {"user": "a", "options": "-c crdb.autocommit_before_ddl=off -c statement_timeout=1s"}
    _, problem = rewriting.startup_options({"options": "-c fsync=off"}, OLD)
    assert problem is not None
    assert problem.sqlstate == "42704"


@pytest.mark.parametrize(
    ("version", "setting", "commits"),
    [(Version(24, 3), None, False), (Version(25, 1), None, True), (OLD, "off", False), (Version(24, 3), "on", True)],
)
def test_schema_changes_commit_what_precedes_them_from_25_1_on(
    version: Version, setting: str | None, commits: bool
) -> None:
    assert rewriting.autocommit_before_ddl(version, setting) is commits


def test_rules_are_about_statements_that_are_looked_at() -> None:
    for rule in RULES:
        verbs = re.match(r"\^(?:\(\?:)?([A-Z|]+)", rule.pattern)
        assert verbs
        assert set(verbs[1].lower().split("|")) <= rules.RULED


def test_statements_are_split_outside_of_quotes() -> None:
    assert [statement.verb for statement in split("SELECT 1; COMMIT;")] == ["select", "commit"]
    assert len(split("INSERT INTO a VALUES ('x;y', E'it\\'s;', $$;$$, $b$;$b$, \"b;c\")")) == 1
    assert split(" ; ") == ()


def test_a_shape_is_the_same_for_all_executions() -> None:
    one = Statement("SELECT a FROM b WHERE c IN ('x', 'y''z', 'w') AND d = 12 LIMIT 5")
    other = Statement("SELECT a FROM b\n WHERE c IN ('q', 'r') AND d = 3 LIMIT 5")
    assert one.shape == other.shape == "SELECT a FROM b WHERE c IN (?) AND d = ? LIMIT ?"


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("BEGIN", "begins"),
        ("START TRANSACTION", "begins"),
        ("COMMIT", "commits"),
        ("ROLLBACK", "rollbacks"),
        ("SELECT 1", "pings"),
        ("SELECT 12", "statements"),
        ("(SELECT 1)", "statements"),
        ("INSERT INTO a VALUES (1)", "statements"),
    ],
)
def test_messages_are_counted_by_kind(sql: str, kind: str) -> None:
    assert Statement(sql).kind == kind


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT a FROM b", True),
        ("SELECT version()", False),
        ("SELECT pg_catalog.version()", False),
        ("SELECT 1", False),
        ("SELECT a FROM information_schema.tables", False),
        ("DELETE FROM b", False),
    ],
)
def test_only_stored_rows_are_read_with_conflicts(sql: str, reads: bool) -> None:
    assert Statement(sql).reads_rows is reads


def fates(faults: Faults, shape: str, count: int = 2000) -> list[str | None]:
    injector = Injector(faults)
    return [injector.draw(AT_WRITE, shape) for _ in range(count)]


def test_faults_depend_on_the_seed_the_statement_and_its_count_alone() -> None:
    faults = Faults(seed=7, retry_at_write=0.1, drop_in_transaction=0.01)
    alone = fates(faults, "INSERT INTO a")
    injector = Injector(faults)
    mixed: dict[str, list[str | None]] = {"INSERT INTO a": [], "INSERT INTO b": []}
    for number in range(4000):
        shape = "INSERT INTO b" if number % 3 else "INSERT INTO a"
        mixed[shape].append(injector.draw(AT_WRITE, shape))
    assert mixed["INSERT INTO a"] == alone[: len(mixed["INSERT INTO a"])]
    assert mixed["INSERT INTO b"] != alone[: len(mixed["INSERT INTO b"])]
    assert fates(Faults(seed=8, retry_at_write=0.1, drop_in_transaction=0.01), "INSERT INTO a") != alone


def test_faults_are_about_as_frequent_as_asked_for() -> None:
    drawn = fates(Faults(retry_at_write=0.1), "INSERT INTO a")
    assert 150 < drawn.count("retry_at_write") < 250
    assert set(drawn) == {None, "retry_at_write"}


def test_a_limit_ends_the_faults() -> None:
    assert fates(Faults(retry_at_write=1, limit=3), "INSERT INTO a", 10) == ["retry_at_write"] * 3 + [None] * 7


def test_every_fault_has_an_occasion() -> None:
    assert set(KINDS) == {*AT_COMMIT, *AT_WRITE, *AT_READ, *AT_PING}
    assert not Injector(Faults()).active
    for kind in KINDS:
        certain: dict[str, Any] = {kind: 1}
        assert Injector(Faults(**certain)).active


def test_errors_have_no_field_that_cockroachdb_does_not_send() -> None:
    sent = {
        "S": "ERROR",
        "C": "23505",
        "M": "m",
        "t": "user",
        "s": "public",
        "n": "uniq",
        "D": "Key (a)=(b) already exists.",
    }
    assert texts.translate(sent, "insert", OLD) == {
        "S": "ERROR",
        "C": "23505",
        "M": "m",
        "n": "uniq",
        "D": "Key (a)=('b') already exists.",
    }


@pytest.mark.parametrize(
    ("sqlstate", "verb", "message", "becomes", "text"),
    [
        ("40001", "commit", "could not serialize access", "40001", "restart transaction: .*RETRY_SERIALIZABLE"),
        ("40001", "update", "could not serialize access", "40001", "restart transaction: .*WriteTooOldError"),
        ("40P01", "update", "deadlock detected", "40001", "restart transaction: .*ABORT_REASON_PUSHER_ABORTED"),
        ("23503", "insert", 'insert or update on table "a" violates', "23503", '^insert on table "a" violates'),
        ("23503", "delete", 'update or delete on table "a" violates', "23503", '^delete on table "a" violates'),
        ("57014", "select", "canceling statement due to user request", "57014", "^query execution canceled$"),
        ("57P01", "select", "terminating connection due to administrator command", "57P01", "server is shutting down"),
        ("42P01", "select", 'relation "a" does not exist', "42P01", '^relation "a" does not exist$'),
    ],
)
def test_errors_are_worded_as_cockroachdb_does(sqlstate: str, verb: str, message: str, becomes: str, text: str) -> None:
    new = texts.translate({"C": sqlstate, "M": message}, verb, OLD)
    assert new["C"] == becomes
    assert re.search(text, new["M"])


def test_a_value_with_a_comma_leaves_the_detail_as_it_is() -> None:
    detail = "Key (a, b)=(x, y, z) already exists."
    assert texts.translate({"C": "23505", "D": detail}, "insert", OLD)["D"] == detail


def test_retry_errors_refer_to_their_documentation() -> None:
    for kind in ("retry_at_commit", "retry_at_write", "retry_at_read", "deadlock"):
        message, hint = texts.retry(kind, NEW)
        assert message.startswith("restart transaction: TransactionRetryWithProtoRefreshError: ")
        assert "/docs/v26.2/transaction-retry-error-reference.html#" in hint


def test_rows_and_errors_are_read_as_written() -> None:
    data = messages.rows(("a", "b"), (("1", None),))
    start = data.index(b"D", data.index(b"b\0"))
    assert messages.parse_row(data[start + 5 :]) == ["1", None]
    assert messages.parse_fields(messages.error("0A000", "no", hint="so")[5:]) == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "0A000",
        "M": "no",
        "H": "so",
    }
    parameters = {"user": "a", "database": "b"}
    assert messages.parse_parameters(messages.encode_parameters(parameters)) == parameters


def test_the_double_needs_nothing_but_python() -> None:
    directory = Path(cockroachdb_wire.__file__).parent
    imported = {
        name
        for path in directory.glob("*.py")
        for name in re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
    }
    assert imported <= sys.stdlib_module_names
