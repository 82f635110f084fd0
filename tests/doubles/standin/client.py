"""``cockroach sql``: statements in, rows out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.doubles.standin import wire
from tests.doubles.standin.trust import Trust, connect
from tests.doubles.standin.wire import Stream


class SQLError(Exception):
    """The server refused; `code` is its SQLSTATE."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields.get("M", ""))
        self.code = fields.get("C", "")

    def __str__(self) -> str:
        return f"{self.args[0]}\nSQLSTATE: {self.code}"


@dataclass
class Result:
    """What one statement gave."""

    tag: str = ""
    columns: list[str] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)

    def text(self, form: str) -> str:
        """As ``--format=csv`` or ``tsv`` prints it; a statement without rows prints its tag."""
        if not self.columns:
            return f"{self.tag}\n"
        lines = io.StringIO()
        writer = csv.writer(lines, delimiter="\t" if form == "tsv" else ",", lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([["NULL" if cell is None else cell for cell in row] for row in self.rows])
        return lines.getvalue()


class Client:
    """A session. Raises `SQLError`, `wire.Closed` and what `connect` raises."""

    def __init__(self, address: str, trust: Trust, user: str, database: str) -> None:
        self._stream: Stream = connect(address, trust, user)
        self._stream.write(wire.startup({"user": user, "database": database, "application_name": "$ cockroach sql"}))
        for _ in self._results():
            pass

    def run(self, sql: str) -> Iterator[Result]:
        self._stream.write(wire.query(sql))
        yield from self._results()

    def close(self) -> None:
        self._stream.write(wire.message(b"X"))
        self._stream.close()

    def _results(self) -> Iterator[Result]:
        result, failed = Result(), None
        while True:
            kind, content = wire.read_message(self._stream)
            if kind == b"T":
                result.columns = wire.read_columns(content)
            elif kind == b"D":
                result.rows.append(wire.read_row(content))
            elif kind == b"C":
                result.tag = content[:-1].decode()
                yield result
                result = Result()
            elif kind == b"E":
                failed = SQLError(wire.read_fields(content))
                if wire.read_fields(content).get("S") == "FATAL":
                    raise failed
            elif kind == b"Z":
                if failed:
                    raise failed
                return


def split(sql: str) -> list[str]:
    """Statements of a text, as the shell sends them: one by one."""
    found, current, quote = [], "", ""
    for character in sql:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == ";":
            found.append(current)
            current = ""
            continue
        current += character
    return [statement.strip() for statement in (*found, current) if statement.strip()]
