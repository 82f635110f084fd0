"""What must be known of a statement's text: its verb, its words, its shape. No parser of SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

_TOKENS = re.compile(
    r"""
      (?P<text> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" )
    | (?P<body> \$(?P<tag>[A-Za-z_]*)\$ .*? \$(?P=tag)\$ )
    | (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<end> ; )
    """,
    re.VERBOSE | re.DOTALL,
)
_LITERALS = re.compile(r"[eE]?'(?:[^'\\]|\\.|'')*'|\b\d+(?:\.\d+)?\b")
_LISTS = re.compile(r"\(\s*\?(?:\s*,\s*\?)+\s*\)")

WRITES = frozenset({"insert", "update", "delete", "upsert"})
SCHEMA_CHANGES = frozenset({"create", "alter", "drop", "truncate", "comment"})


@dataclass(frozen=True)
class Statement:
    """One statement as the client wrote it."""

    sql: str

    @cached_property
    def words(self) -> str:
        """The text with single blanks, for patterns."""
        return " ".join(self.sql.split())

    @cached_property
    def verb(self) -> str:
        found = re.match(r"\W*(\w+)", self.sql)
        return found[1].lower() if found else ""

    @cached_property
    def shape(self) -> str:
        """The text without its literals: equal for all executions of one statement."""
        return _LISTS.sub("(?)", _LITERALS.sub("?", self.words))

    @cached_property
    def is_ping(self) -> bool:
        """The statement by which SQLAlchemy's pool looks whether a connection still works."""
        return self.words.rstrip(" ;").lower() == "select 1"

    @cached_property
    def reads_rows(self) -> bool:
        """Whether it is a SELECT of stored rows: a version or a catalog is read without a conflict."""
        words = self.words.lower()
        return (
            self.verb == "select" and " from " in words and not re.search(r"\b(pg_catalog|information_schema)\.", words)
        )

    @cached_property
    def kind(self) -> str:
        """The group it is counted in."""
        if self.verb in {"begin", "start"}:
            return "begins"
        if self.verb in {"commit", "end"}:
            return "commits"
        if self.verb in {"rollback", "abort"}:
            return "rollbacks"
        return "pings" if self.is_ping else "statements"


@lru_cache(maxsize=1024)
def split(sql: str) -> tuple[Statement, ...]:
    """The statements of one query message; a semicolon within quotes, a body or a comment separates nothing.

    Remembered: most messages are the same few again and again (BEGIN, ROLLBACK, pings, a token's user and roles).
    """
    found, start = list[Statement](), 0
    for token in _TOKENS.finditer(sql):
        if token.lastgroup == "end":
            found.append(Statement(sql[start : token.start()].strip()))
            start = token.end()
    found.append(Statement(sql[start:].strip()))
    return tuple(statement for statement in found if statement.sql)


def unquoted(name: str) -> str:
    """An identifier as the catalog has it: quotes removed, or folded."""
    name = name.strip()
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
