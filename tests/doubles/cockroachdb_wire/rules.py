"""What CockroachDB refuses and PostgreSQL does not. A model: a statement that no rule names is passed on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .statements import Statement, literal, unquoted
from .versions import Version

_NOT_IMPLEMENTED = "You have attempted to use a feature that is not yet implemented."

Ask = Callable[[str], bool]
"""Whether a query of the catalog has a row."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error that CockroachDB answers with."""

    rule: str
    sqlstate: str
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A statement that versions from ``since`` on and before ``until`` refuse.

    ``catalog``: a condition on the database, as a query that must have a row; ``{name}`` is the pattern's group of that
    name, as a literal. ``message`` and ``hint`` use the groups too, and ``{release}``.
    ``source``: where it is said that CockroachDB does so.
    """

    name: str
    source: str
    pattern: str
    sqlstate: str
    message: str
    hint: str = ""
    since: Version | None = None
    until: Version | None = None
    catalog: str = ""
    in_transaction: bool = False

    def applies(self, version: Version) -> bool:
        begun = self.since is None or self.since <= version
        return begun and (self.until is None or version < self.until)

    def check(self, statement: Statement, version: Version, *, transaction: bool, ask: Ask) -> Refusal | None:
        """The error, when `statement` is what the rule is about."""
        if not self.applies(version) or (self.in_transaction and not transaction):
            return None
        found = re.search(self.pattern, statement.words, re.IGNORECASE)
        if not found:
            return None
        names = {key: unquoted(value) for key, value in found.groupdict().items() if value is not None}
        if self.catalog and not ask(self.catalog.format(**{key: literal(value) for key, value in names.items()})):
            return None
        text = {**names, "release": version.release}
        return Refusal(
            rule=self.name,
            sqlstate=self.sqlstate,
            message=self.message.format(**text),
            hint=self.hint.format(**text),
        )


def _unimplemented(issue: int) -> str:
    """The hint of an error that refers to an issue."""
    return f"{_NOT_IMPLEMENTED}\nSee: https://go.crdb.dev/issue-v/{issue}/{{release}}"


_NAME = r'(?P<{0}>"[^"]+"|[\w.]+)'
_IS_UNIQUE = "SELECT 1 FROM pg_catalog.pg_constraint WHERE conname = {name} AND contype = 'u'"

RULES: tuple[Rule, ...] = (
    Rule(
        name="drop-unique-constraint",
        source="https://github.com/cockroachdb/cockroach/issues/42840; lifted by #162345 (release notes of v26.2)",
        until=Version(26, 2),
        pattern=rf"^ALTER TABLE .*?\bDROP CONSTRAINT (?:IF EXISTS )?{_NAME.format('name')}",
        catalog=_IS_UNIQUE,
        sqlstate="0A000",
        message='unimplemented: cannot drop UNIQUE constraint "{name}" using ALTER TABLE DROP CONSTRAINT, '
        "use DROP INDEX CASCADE instead",
        hint=_unimplemented(42840),
    ),
    Rule(
        name="drop-unique-index",
        source="https://www.cockroachlabs.com/docs/v25.4/drop-index#remove-an-index-and-dependent-objects-with-cascade",
        pattern=rf"^DROP INDEX (?:CONCURRENTLY )?(?:IF EXISTS )?(?:[^@;]+@)?{_NAME.format('name')}(?: RESTRICT)?;?$",
        catalog=_IS_UNIQUE,
        sqlstate="2BP01",
        message='index "{name}" is in use as unique constraint',
        hint="use CASCADE if you really want to drop it.",
    ),
    Rule(
        name="trigger-function",
        # The issue says that they are new in v24.3; how older versions put it is not known to us.
        source="https://github.com/cockroachdb/cockroach/issues/126356 and pull request #126734 (v24.3)",
        until=Version(24, 3),
        pattern=r"^CREATE (?:OR REPLACE )?FUNCTION .*\bRETURNS TRIGGER\b",
        sqlstate="0A000",
        message="unimplemented: trigger functions",
        hint=_unimplemented(126356),
    ),
    Rule(
        name="trigger",
        source="https://github.com/cockroachdb/cockroach/issues/28296 (v24.3)",
        until=Version(24, 3),
        pattern=r"^CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER\b",
        sqlstate="0A000",
        message='at or near "trigger": syntax error: unimplemented: this syntax',
        hint=_unimplemented(28296),
    ),
    Rule(
        name="deferrable-constraint",
        source="https://github.com/cockroachdb/cockroach/issues/31632",
        pattern=r"^(?:CREATE|ALTER) TABLE .*(?<!NOT )\b(?:DEFERRABLE|INITIALLY DEFERRED)\b",
        sqlstate="0A000",
        message='at or near "deferrable": syntax error: unimplemented: this syntax',
        hint=_unimplemented(31632),
    ),
    Rule(
        name="set-constraints",
        source="cockroachdb/cockroach, pkg/sql/parser/sql.y: nonpreparable_set_stmt",
        pattern=r"^SET CONSTRAINTS\b",
        sqlstate="0A000",
        message='at or near "constraints": syntax error: unimplemented: this syntax',
        hint=_NOT_IMPLEMENTED,
    ),
    Rule(
        name="inherits",
        source="https://github.com/cockroachdb/cockroach/issues/22456",
        pattern=r"^(?:CREATE TABLE .*\bINHERITS \(|ALTER TABLE .*\b(?:NO )?INHERIT\b)",
        sqlstate="0A000",
        message='at or near "inherits": syntax error: unimplemented: this syntax',
        hint=_unimplemented(22456),
    ),
    Rule(
        name="database-template",
        source="https://www.cockroachlabs.com/docs/v25.4/postgresql-compatibility#other-unsupported-features; "
        "https://github.com/cockroachdb/cockroach/issues/10151",
        pattern=rf"^CREATE DATABASE .*\bTEMPLATE (?:= ?)?(?!template0\b){_NAME.format('name')}",
        sqlstate="0A000",
        message="unimplemented: unsupported template: {name}",
        hint=_unimplemented(10151),
    ),
    Rule(
        name="domain",
        source="https://www.cockroachlabs.com/docs/v26.2/postgresql-compatibility#create-domain",
        pattern=r"^CREATE DOMAIN\b",
        sqlstate="0A000",
        message='at or near "domain": syntax error: unimplemented: this syntax',
        hint=_NOT_IMPLEMENTED,
    ),
    Rule(
        name="column-type-in-transaction",
        source="https://github.com/cockroachdb/cockroach/issues/49351 (general availability in v25.1)",
        until=Version(25, 1),
        in_transaction=True,
        pattern=r"^ALTER TABLE .*\bALTER (?:COLUMN )?\S+ (?:SET DATA )?TYPE\b",
        sqlstate="0A000",
        message="unimplemented: ALTER COLUMN TYPE is not supported inside a transaction",
        hint=_unimplemented(49351),
    ),
)


RULED = frozenset({"alter", "create", "drop", "set"})
"""The first words of the statements that rules are about."""

SCHEMA_CHANGE_UNDER_READ_COMMITTED = Refusal(
    # https://github.com/cockroachdb/cockroach/issues/114778; the SQLSTATE is not said there.
    rule="schema-change-under-read-committed",
    sqlstate="0A000",
    message="explicit transaction involving a schema change needs to be SERIALIZABLE",
    hint="enable the autocommit_before_ddl setting",
)


def unknown_variable(name: str) -> Refusal:
    """The error about a session variable that does not exist.

    Source: cockroachdb/cockroach, pkg/sql/vars.go (pgcode.UndefinedObject).
    """
    return Refusal(rule="unknown-variable", sqlstate="42704", message=f'unrecognized configuration parameter "{name}"')


def refusal(statement: Statement, version: Version, *, transaction: bool, ask: Ask) -> Refusal | None:
    """The error with which `version` answers `statement`, None when it would execute it."""
    if statement.verb not in RULED:  # nearly all
        return None
    for rule in RULES:
        found = rule.check(statement, version, transaction=transaction, ask=ask)
        if found:
            return found
    return None
