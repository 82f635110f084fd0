"""One client's connection: its messages are judged, changed, passed on, or answered here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from . import messages, texts
from .faults import AT_COMMIT, AT_PING, AT_READ, AT_WRITE, Injector
from .messages import ConnectionEnded, Wire
from .opening import opening
from .rewriting import NAMESPACE, autocommit_before_ddl, rewrite, startup_options, variable_refusal
from .rules import SCHEMA_CHANGE_UNDER_READ_COMMITTED, Refusal, refusal
from .statements import SCHEMA_CHANGES, WRITES, Statement, split
from .versions import POSTGRESQL_VERSION, READ_COMMITTED_IS_ENABLED, Version

IDLE, IN_TRANSACTION, FAILED = b"I", b"T", b"E"
_NEEDS_ANSWER = frozenset({3, 5, 7, 10, 11})  # authentication requests


@dataclass(frozen=True)
class Answer:
    """What is answered instead of asking PostgreSQL: the command's tag, and a table of text if there is one."""

    tag: str
    columns: tuple[str, ...] = ()
    rows: Sequence[Sequence[str | None]] = ()


Responder = Callable[[Statement], Answer | Refusal | Statement | None]
"""Answers a statement itself, gives another one to execute in its place, or leaves it (None)."""


class Surroundings(Protocol):
    """What a session needs of the double it belongs to."""

    version: Version
    injector: Injector

    def connect(self) -> Wire: ...
    def count(self, group: str, name: str) -> None: ...
    def log(self, session: int, **what: object) -> None: ...


class Session:
    """Runs in a thread of its own until one of the two sides is gone."""

    def __init__(self, number: int, client: Wire, double: Surroundings, responder: Responder | None = None) -> None:
        self.number = number
        self.client = client
        self.backend: Wire | None = None
        self._double = double
        self._responder = responder
        self._status = IDLE
        self._writes = ""  # the shape of the transaction's last write; empty before the first
        self._verb = ""

    def run(self, parameters: Mapping[str, str] | None = None) -> None:
        """Serve the client, from its first message on, or from `parameters` on when it is let in already."""
        try:
            if self._open() if parameters is None else self._begin(parameters):
                while True:
                    self._next()
        except ConnectionEnded as error:
            self._double.log(self.number, event="closed", reason=str(error))
        finally:
            self.close()

    def close(self) -> None:
        for wire in (self.client, self.backend):
            if wire is not None:
                wire.close()

    # Opening

    def _open(self) -> bool:
        """Whether there is a session to serve; a request to cancel begins none and is not granted."""
        self.client, code, body = opening(self.client, None)
        return code != messages.CANCEL_REQUEST and self._begin(messages.parse_parameters(body), code)

    def _begin(self, given: Mapping[str, str], code: int = messages.PROTOCOL_3) -> bool:
        """Whether the backend has a session for a client that is let in."""
        parameters, problem = startup_options(given, self._double.version)
        if problem is not None:
            return self._turn_away(problem)
        self.backend = self._double.connect()
        self.backend.send(messages.startup(code, messages.encode_parameters(parameters)))
        self._authenticate()
        user = given.get("user", "")
        self._double.log(self.number, event="session", user=user, database=given.get("database", user))
        return True

    def _turn_away(self, problem: Refusal) -> bool:
        self._double.count("refused", problem.rule)
        self._double.log(self.number, event="turned away", rule=problem.rule)
        self.client.send(messages.error(problem.sqlstate, problem.message, severity="FATAL"))
        return False

    def _authenticate(self) -> None:
        """Pass on what the backend wants to know of the client, until the session is ready."""
        while True:
            kind, body = self._backend.read()
            if kind == b"Z":
                break
            if kind == b"S" and body.startswith(b"server_version\0"):
                body = f"server_version\0{POSTGRESQL_VERSION}\0".encode()
            self.client.send(messages.message(kind, body))
            if kind == b"R" and int.from_bytes(body[:4], "big") in _NEEDS_ANSWER:
                self._backend.send(messages.message(*self.client.read()))
        self._serializable_by_default()
        self.client.send(messages.parameter("crdb_version", self._double.version.banner) + messages.ready(IDLE))
        self._double.count("messages", "sessions")

    def _serializable_by_default(self) -> None:
        """CockroachDB's default isolation level, unless the client, the role or the database chose one."""
        asked = "SELECT source FROM pg_catalog.pg_settings WHERE name = 'default_transaction_isolation'"
        chosen = self._ask(asked) in {"client", "user", "database", "database user"}
        if not chosen or self._double.version < READ_COMMITTED_IS_ENABLED:
            self._silently("SET default_transaction_isolation = serializable")

    # Statements

    def _next(self) -> None:
        self._wait()
        kind, body = self.client.read()
        if kind == b"X":
            self._backend.send(messages.message(b"X"))
            raise ConnectionEnded("the client said so")
        if kind != b"Q":
            self._double.log(self.number, event="unsupported message", kind=kind.decode(errors="replace"))
            text = "the double knows the simple query protocol only"
            self.client.send(messages.error("0A000", text, severity="FATAL"))
            raise ConnectionEnded(text)
        statements = split(body[:-1].decode())
        if len(statements) == 1:
            self._statement(statements[0])
        else:
            self._batch(statements)
        if self._status == IDLE:
            self._writes = ""

    def _wait(self) -> None:
        """Until the client says something; what the backend says meanwhile is passed on."""
        while self._backend in messages.readable(self.client, self._backend):
            try:
                self.client.send(messages.message(*self._translated(*self._backend.read())))
            except ConnectionEnded:
                self._learn_of_the_loss()
                raise

    def _learn_of_the_loss(self) -> None:
        """The backend ended while nothing was under way. A client notices with its next message: which is it?"""
        kind, body = self.client.read()
        statements = split(body[:-1].decode()) if kind == b"Q" else ()
        self._lost(bool(statements) and statements[0].verb in {"commit", "end"} and self._status == IN_TRANSACTION)

    def _lost(self, committing: bool) -> None:
        self._double.count("lost", "in_commit" if committing else "elsewhere")
        self._double.log(self.number, event="backend lost", committing=committing)

    def _statement(self, statement: Statement) -> None:
        self._verb = statement.verb
        self._double.count("messages", statement.kind)
        self._double.log(self.number, sql=statement.words, status=self._status.decode())
        if self._status == FAILED:
            self._forward(statement.sql)
        elif (changed := self._respond(statement)) is not None:
            self._execute(changed)

    def _respond(self, statement: Statement) -> Statement | None:
        """What is to be executed; None when the responder has answered."""
        answer = self._responder(statement) if self._responder is not None else None
        if answer is None or isinstance(answer, Statement):
            return answer or statement
        if isinstance(answer, Refusal):
            self._refuse(answer)
        else:
            table = messages.rows(answer.columns, answer.rows) if answer.columns else b""
            self._double.count("messages", "answered")
            self.client.send(table + messages.complete(answer.tag) + messages.ready(self._status))
        return None

    def _execute(self, statement: Statement) -> None:
        problem = self._problem(statement)
        if problem is not None:
            self._refuse(problem)
        elif statement.verb in SCHEMA_CHANGES and self._status == IN_TRANSACTION and not self._make_way(statement):
            return
        elif (fault := self._fault(statement)) is not None:
            self._suffer(fault, statement)
        else:
            if statement.verb in WRITES:
                self._writes = statement.shape
            sql = rewrite(statement, self._double.version, self._exists)
            self._forward(sql, changed=sql != statement.sql)

    def _batch(self, statements: tuple[Statement, ...]) -> None:
        """Several statements (or none) in one message: judged one by one, executed together, no faults."""
        self._double.count("messages", "batches")
        self._double.log(self.number, sql="; ".join(statement.words for statement in statements), batch=True)
        self._verb = statements[-1].verb if statements else ""
        for statement in statements:
            problem = self._problem(statement) if self._status != FAILED else None
            if problem is not None:
                self._refuse(problem)
                return
        rewritten = [rewrite(statement, self._double.version, self._exists) for statement in statements]
        self._forward("; ".join(rewritten))

    def _problem(self, statement: Statement) -> Refusal | None:
        version = self._double.version
        unknown = variable_refusal(statement, version)
        if unknown is not None:
            return unknown
        return refusal(statement, version, transaction=self._status == IN_TRANSACTION, ask=self._exists)

    def _refuse(self, problem: Refusal) -> None:
        self._double.count("refused", problem.rule)
        self._double.log(self.number, event="refused", rule=problem.rule)
        self._fail(problem.sqlstate, problem.message, problem.hint)

    def _fail(self, sqlstate: str, message: str, hint: str = "") -> None:
        """Answer with an error; an open transaction is from now on a failed one."""
        if self._status == IN_TRANSACTION:
            self._silently("DO $double$ BEGIN RAISE EXCEPTION 'refused by the double'; END $double$")
        self.client.send(messages.error(sqlstate, message, hint=hint) + messages.ready(self._status))

    def _make_way(self, statement: Statement) -> bool:
        """Before a schema change within a transaction: commit that, and execute it, where CockroachDB does so.

        Returns whether `statement` is still to be executed.

        First statement or not: as from #141145 on (patch releases of v24.1 to v25.1 and all later ones).
        """
        setting = self._ask(f"SELECT current_setting('{NAMESPACE}.autocommit_before_ddl', true)")
        if not autocommit_before_ddl(self._double.version, setting):
            if self._isolation() == "serializable":
                return True
            self._refuse(SCHEMA_CHANGE_UNDER_READ_COMMITTED)
            return False
        self._double.count("messages", "autocommits")
        self._double.log(self.number, event="autocommit", before=statement.words)
        failure = self._silently("COMMIT")
        if failure is not None:
            self.client.send(messages.message(b"E", failure) + messages.ready(self._status))
            return False
        self.client.send(messages.notice("00000", texts.AUTOCOMMITTED))
        self._writes = ""
        sql = rewrite(statement, self._double.version, self._exists)
        self._forward(sql, changed=sql != statement.sql)
        return False

    # Faults

    def _fault(self, statement: Statement) -> str | None:
        """The fault that `statement` suffers, drawn where it can happen."""
        if not self._double.injector.active:
            return None
        draw = self._double.injector.draw
        if statement.is_ping:
            return draw(AT_PING, "ping")
        if self._status != IN_TRANSACTION:
            return None  # CockroachDB retries a transaction of one statement itself
        if statement.verb in {"commit", "end"} and self._writes:
            fault = draw(AT_COMMIT, self._writes)
        elif statement.verb in WRITES:
            fault = draw(AT_WRITE, statement.shape)
        elif statement.reads_rows:
            fault = draw(AT_READ, statement.shape)
        else:
            return None
        if fault is not None and fault.startswith("retry") and self._isolation() != "serializable":
            self._double.count("spared", fault)
            return None
        return fault

    def _suffer(self, fault: str, statement: Statement) -> None:
        self._double.count("injected", fault)
        transaction = self._writes if fault in AT_COMMIT else ""
        self._double.log(self.number, event="injected", fault=fault, sql=statement.shape, transaction=transaction)
        if fault in AT_COMMIT:
            committed = fault in {"ambiguous_committed", "drop_committed"}
            failure = self._silently("COMMIT" if committed else "ROLLBACK")
            if failure is not None:  # a conflict of its own came first: nothing is ambiguous
                self.client.send(messages.message(b"E", failure) + messages.ready(self._status))
                return
        if fault.startswith("drop"):
            raise ConnectionEnded(fault)
        if fault.startswith("ambiguous"):
            self._fail("40003", texts.AMBIGUOUS)
        else:
            self._fail("40001", *texts.retry(fault, self._double.version))

    # The backend

    @property
    def _backend(self) -> Wire:
        assert self.backend is not None
        return self.backend

    def _isolation(self) -> str:
        return self._ask("SHOW transaction_isolation") or ""

    def _exists(self, sql: str) -> bool:
        return self._status != FAILED and self._ask(sql) is not None

    def _ask(self, sql: str) -> str | None:
        """The first field of the first row, unknown to the client."""
        found: list[str | None] = []
        self._backend.send(messages.query(sql))
        while True:
            kind, body = self._backend.read()
            if kind == b"D" and not found:
                found = messages.parse_row(body)
            if kind == b"Z":
                self._status = body
                return found[0] if found else None

    def _silently(self, sql: str) -> bytes | None:
        """Execute `sql`; the client learns nothing. The body of the error, if there was one."""
        failure = None
        self._backend.send(messages.query(sql))
        while True:
            kind, body = self._translated(*self._backend.read())
            if kind == b"E":
                failure = body
            if kind == b"Z":
                self._status = body
                return failure

    def _forward(self, sql: str, *, changed: bool = False) -> None:
        """Let the backend execute `sql` and pass its answer on."""
        if changed:
            self._double.count("messages", "rewritten")
        committing = self._verb in {"commit", "end"} and self._status == IN_TRANSACTION
        try:
            self._backend.send(messages.query(sql))
            self._relay()
        except ConnectionEnded:
            self._lost(committing)
            raise

    def _relay(self) -> None:
        answer = bytearray()
        try:
            while True:
                kind, body = self._translated(*self._backend.read())
                answer += messages.message(kind, body)
                if kind == b"Z":
                    self._status = body
                    return
                if kind == b"G":
                    self.client.send(bytes(answer))
                    answer.clear()
                    self._copy_in()
                elif len(answer) > 1 << 16:
                    self.client.send(bytes(answer))
                    answer.clear()
        finally:
            self.client.send(bytes(answer))

    def _copy_in(self) -> None:
        kind = b"d"
        while kind not in {b"c", b"f"}:
            kind, body = self.client.read()
            self._backend.send(messages.message(kind, body))

    def _translated(self, kind: bytes, body: bytes) -> tuple[bytes, bytes]:
        if kind != b"E":
            return kind, body
        fields = texts.translate(messages.parse_fields(body), self._verb, self._double.version)
        if fields.get("C") == "40001":
            self._double.count("messages", "genuine_retries")
        return kind, messages.fields(fields)
