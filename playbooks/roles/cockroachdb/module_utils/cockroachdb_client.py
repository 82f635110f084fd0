"""How the modules of this Ansible role talk to one CockroachDB node: its own command line, and HTTP.

Runs with the host's Python (3.9 or newer), standard library only.
"""

from __future__ import annotations

import csv
import http.client
import io
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

BINARY = "/usr/local/bin/cockroach"
UNSAFE_INTERNALS_SINCE = (26, 1)
"""From here on most of ``crdb_internal`` must be asked for."""

NODE = {
    "type": "dict",
    "required": True,
    "options": {
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "default": 26257},
        "http_port": {"type": "int", "default": 8080},
        "certificates": {"type": "str", "default": ""},
    },
}
"""Module argument ``node``; an empty ``certificates`` is a cluster without TLS."""


class Refused(Exception):
    """The command line or the server said no; the text is theirs."""


class Client:
    """One node, as ``root`` unless told otherwise."""

    def __init__(self, address: str, port: int, http_port: int, certificates: str) -> None:
        self.address = address
        self.server = f"{address}:{port}"
        self.certificates = certificates
        self.base = f"{'https' if certificates else 'http'}://{address}:{http_port}"

    def run(self, *words: str, timeout_s: float = 60, stdin: str = "") -> str:
        """Run a subcommand against the node and return what it printed. Raises `Refused`."""
        login = f"--certs-dir={self.certificates}" if self.certificates else "--insecure"
        return run(BINARY, *words, login, f"--host={self.server}", timeout_s=timeout_s, stdin=stdin)

    def secret_sql(self, statement: str) -> None:
        """Execute a statement that must not be seen in the list of processes. Raises `Refused`."""
        self.run("sql", "--user=root", "--database=defaultdb", "--format=csv", stdin=f"{statement};\n")

    def sql(self, *statements: str, user: str = "root", database: str = "defaultdb", timeout_s: float = 120) -> str:
        """Execute statements one after the other (CSV comes back). Raises `Refused` at the first that fails."""
        return self.run(
            "sql",
            f"--user={user}",
            f"--database={database}",
            "--format=csv",
            *(f"--execute={statement}" for statement in statements),
            timeout_s=timeout_s,
        )

    def rows(self, statement: str, *, before: Sequence[str] = (), **options: Any) -> list[dict[str, str]]:
        """The rows of one query, by column; each statement of `before` (SET...) prints one line that is left out."""
        printed = self.sql(*before, statement, **options)
        return table(printed.split("\n", len(before))[-1] if before else printed)

    def value(self, statement: str, **options: Any) -> str:
        """The first column of the first row. Raises `Refused` when there is none."""
        found = self.rows(statement, **options)
        if not found:
            raise Refused(f"`{statement}` gave no row")
        return next(iter(found[0].values()))

    def values(self, statements: Sequence[str], **options: Any) -> list[str]:
        """`value` of each statement, in one process where what is printed can be told apart. Raises `Refused`."""
        printed = list(filter(None, csv.reader(io.StringIO(self.sql(*statements, **options))))) if statements else []
        if len(printed) == 2 * len(statements):  # a header and one row each
            return [row[0] for row in printed[1::2]]
        return [self.value(statement, **options) for statement in statements]

    def status(self, *more: str) -> list[dict[str, str]]:
        """A row per node of the cluster."""
        return table(self.run("node", "status", "--format=csv", *(more or ("--ranges",)), timeout_s=20))

    def get(self, path: str, timeout_s: float = 10) -> tuple[int, str]:
        """GET from the node's HTTP server; status 0 when nobody answers."""
        context = None
        if self.certificates:
            context = ssl.create_default_context(cafile=os.path.join(self.certificates, "ca.crt"))
        secure = urllib.request.HTTPSHandler(context=context)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), secure)
        try:
            with direct.open(self.base + path, timeout=timeout_s) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)

    def ready(self) -> bool:
        """Whether the node takes SQL connections: it is in a cluster that has a quorum, and does not leave."""
        return self.get("/health?ready=1", timeout_s=5)[0] == 200


def client(parameters: dict[str, Any]) -> Client:
    """From the module argument ``node``."""
    return Client(**parameters)


def run(*words: str, timeout_s: float = 60, stdin: str = "") -> str:
    """Run a program to its end and return what it printed. Raises `Refused` with its complaint."""
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"`{' '.join(words[:3])}` had no end after {timeout_s:g} s") from None
    except OSError as error:
        raise Refused(f"{words[0]} cannot be executed ({error.strerror})") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Refused(" ".join(line.strip() for line in said[-8:]) or f"{words[0]} ended with status {done.returncode}")
    return done.stdout


def table(text: str) -> list[dict[str, str]]:
    """Rows of CSV with a header."""
    return list(csv.DictReader(io.StringIO(text)))


def wait(seconds: float, good: Callable[[], bool], pause_s: float = 0.5) -> bool:
    """Ask until `good` says yes or the time is over."""
    end = time.monotonic() + seconds
    while not good():
        if time.monotonic() > end:
            return False
        time.sleep(pause_s)
    return True


def line(version: str) -> tuple[int, int]:
    """``v25.4.11`` is of the line (25, 4)."""
    major, minor = version.lstrip("v").split(".")[:2]
    return int(major), int(minor)


def internals(version: str) -> tuple[str, ...]:
    """What to say before a query of ``crdb_internal``."""
    return ("SET allow_unsafe_internals = on",) if line(version) >= UNSAFE_INTERNALS_SINCE else ()


def literal(value: Any) -> str:
    """`value` as SQL writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as SQL writes a table, a role or a region."""
    return '"' + name.replace('"', '""') + '"'
