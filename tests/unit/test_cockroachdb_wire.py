"""What the wire double refuses, how it words errors, and which statements its faults meet, without a database.

With one: tests/integration/test_wire_protocol.py.
"""

from __future__ import annotations

import re

import pytest

from tests.doubles.cockroachdb_wire import RULES, Faults, Rule, Version, rewriting, rules, texts
from tests.doubles.cockroachdb_wire.faults import AT_WRITE, Injector
from tests.doubles.cockroachdb_wire.statements import Statement, split

VERSION = Version(25, 4, 11)

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


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_has_a_source_and_refuses_its_statement_until_it_is_lifted(rule: Rule) -> None:
    assert re.search(
        r"https://(github\.com/cockroachdb|www\.cockroachlabs\.com)/|^cockroachdb/cockroach, ", rule.source
    )
    statement, first = Statement(REFUSED[rule.name]), rule.since or Version(23, 2)
    found = rules.refusal(statement, first, transaction=True, ask=lambda sql: True)
    assert found is not None
    assert (found.rule, found.sqlstate) == (rule.name, rule.sqlstate)
    assert "{" not in found.message + found.hint
    if rule.until:
        assert rules.refusal(statement, rule.until, transaction=True, ask=lambda sql: True) is None


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
    found = rewriting.variable_refusal(Statement(f"SET {variable} = on"), version)
    assert (found is None) is known
    if found is not None:
        assert (found.sqlstate, found.message) == ("42704", f'unrecognized configuration parameter "{variable}"')


def test_statements_are_split_outside_of_quotes() -> None:
    assert [statement.verb for statement in split("SELECT 1; COMMIT;")] == ["select", "commit"]
    assert len(split("INSERT INTO a VALUES ('x;y', E'it\\'s;', $$;$$, $b$;$b$, \"b;c\")")) == 1


@pytest.mark.parametrize(
    ("sql", "kind", "reads"),
    [
        ("BEGIN", "begins", False),
        ("START TRANSACTION", "begins", False),
        ("COMMIT", "commits", False),
        ("ROLLBACK", "rollbacks", False),
        ("SELECT 1", "pings", False),
        ("SELECT 12", "statements", False),
        ("(SELECT 1)", "statements", False),
        ("SELECT a FROM b", "statements", True),
        ("SELECT version()", "statements", False),
        ("SELECT a FROM information_schema.tables", "statements", False),
        ("DELETE FROM b", "statements", False),
    ],
)
def test_messages_are_counted_by_kind_and_only_stored_rows_are_read_with_conflicts(
    sql: str, kind: str, reads: bool
) -> None:
    assert (Statement(sql).kind, Statement(sql).reads_rows) == (kind, reads)


def test_a_shape_is_the_same_for_all_executions() -> None:
    one = Statement("SELECT a FROM b WHERE c IN ('x', 'y''z', 'w') AND d = 12 LIMIT 5")
    other = Statement("SELECT a FROM b\n WHERE c IN ('q', 'r') AND d = 3 LIMIT 5")
    assert one.shape == other.shape == "SELECT a FROM b WHERE c IN (?) AND d = ? LIMIT ?"


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


def test_faults_are_about_as_frequent_as_asked_for_up_to_a_limit() -> None:
    drawn = fates(Faults(retry_at_write=0.1), "INSERT INTO a")
    assert 150 < drawn.count("retry_at_write") < 250
    assert set(drawn) == {None, "retry_at_write"}
    assert fates(Faults(retry_at_write=1, limit=3), "INSERT INTO a", 10) == ["retry_at_write"] * 3 + [None] * 7


def test_errors_have_no_field_that_cockroachdb_does_not_send() -> None:
    detail = "Key (a)=({}) already exists."
    kept = {"S": "ERROR", "C": "23505", "M": "m", "n": "uniq"}
    sent = {**kept, "t": "user", "s": "public", "D": detail.format("b")}
    assert texts.translate(sent, "insert", VERSION) == {**kept, "D": detail.format("'b'")}


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
    new = texts.translate({"C": sqlstate, "M": message}, verb, VERSION)
    assert new["C"] == becomes
    assert re.search(text, new["M"])
