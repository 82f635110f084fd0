"""SQL: who may log in, and the way of a statement from a node to the PostgreSQL of the node that was initialised."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.doubles.cockroachdb_wire import Double
from tests.doubles.standin import peers, wire
from tests.doubles.standin.statements import Answer, Refusal, Rewritten, Session
from tests.doubles.standin.trust import CertificateError, Unreachable
from tests.doubles.standin.wire import Stream

if TYPE_CHECKING:
    from tests.doubles.standin.node import Node

VERBS = {"select": "select", "insert": "insert", "update": "update", "delete": "delete"}
VERBS |= {"begin": "txn_begin", "commit": "txn_commit", "rollback": "txn_rollback"}
DDL = ("create", "alter", "drop", "truncate")


class Gateway:
    """A node's SQL."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._double = Double(backend=str(node.postgres.door), version=node.settings.version)

    @property
    def connections(self) -> int:
        return len(self._streams)

    def open_sql(self) -> None:
        """PostgreSQL runs: put the wire double between it and everybody."""
        self._double.start()

    def close(self) -> None:
        """End what is idle; CockroachDB's drain does so after its waiting periods."""
        with self._lock:
            for stream in self._streams:
                stream.write(wire.error("57P01", "server is shutting down", severity="FATAL"))
                stream.close()

    def serve(self, client: Stream, startup: dict[str, str], certificate: str | None) -> None:
        """A client of this node, until it goes. `certificate` is its name there; None without TLS."""
        if not self._let_in(client, startup.get("user", ""), certificate):
            return
        with self._lock:
            self._streams.add(client)
            self._node.counters["sql_conns_total"] += 1
        try:
            if self._node.members is not None:
                self.serve_sql(client, startup, self._node.id or 1, count=True)
            else:
                request = {"call": "sql", "startup": startup, "node": self._node.id}
                upstream, _ = peers.open_call(self._node.leader, self._node.trust, request)
                converse(client, upstream, self._count)
        except (Unreachable, peers.Refused, CertificateError) as error:
            client.write(wire.error("57P03", f"STAND-IN: {error}", severity="FATAL"))
        finally:
            with self._lock:
                self._streams.discard(client)

    def serve_sql(self, client: Stream, startup: dict[str, str], node: int, *, count: bool = False) -> None:
        """Statements of a client of node `node`, on the node that has PostgreSQL."""
        assert self._node.members is not None
        session = Session(
            members=self._node.members,
            user=startup.get("user", "root"),
            database=startup.get("database") or "defaultdb",
            node=node,
            build=self._node.settings.version,
            ask=self.ask,
        )
        self._node.sql_open.wait()  # other nodes may be up before PostgreSQL has recovered from a kill
        upstream = self._upstream(startup, session.database)

        def on_query(sql: str, status: bytes) -> bytes | str | None:
            nonlocal upstream
            if count:
                self._count(sql, status)
            self._wait_for_a_quorum()
            match session.answer(sql):
                case Answer() as answer:
                    return answer.wire(status)
                case Refusal(code, text):
                    return wire.error(code, text) + wire.ready(status)
                case Rewritten(other):
                    return other
                case _:
                    return None

        converse(client, upstream, on_query)

    def ask(self, sql: str, database: str = "defaultdb") -> list[list[str | None]]:
        """Rows of a query of our own, as root. Raises `peers.Refused` with PostgreSQL's words."""
        upstream = self._node.postgres.connect()
        try:
            upstream.write(wire.startup({"user": "root", "database": database}))
            _rows(upstream)
            upstream.write(wire.query(sql))
            return _rows(upstream)
        finally:
            upstream.close()

    def _upstream(self, startup: dict[str, str], database: str) -> Stream:
        upstream = Stream(socket.create_connection(self._double.address))
        upstream.write(wire.startup({**startup, "database": database}))
        return upstream

    def _let_in(self, client: Stream, user: str, certificate: str | None) -> bool:
        while not self._node.in_touch:  # CockroachDB does not read from its SQL port before it is initialised
            if wire.first_readable([client], 0.2) is client:
                return False
        refusal = None
        if self._node.draining:
            refusal = ("57P01", "server is not accepting clients, try another node")
        elif certificate == "":
            refusal = ("28P01", f"password authentication failed for user {user}")
        elif certificate is not None and certificate != user and (certificate, user) != ("node", "root"):
            refusal = ("28000", f"requested user is {user}, but certificate is for [{certificate}]")
        if refusal:
            self._node.counters["sql_conn_failures"] += 1
            client.write(wire.error(*refusal, severity="FATAL"))
        return refusal is None

    def _count(self, sql: str, status: bytes) -> None:
        verb = (sql.split(None, 1) or [""])[0].lower()
        kind = "ddl" if verb in DDL else VERBS.get(verb, "misc")
        with self._lock:
            self._node.counters[f"sql_{kind}_count"] += 1
            self._node.counters["sql_query_count"] += 1

    def _wait_for_a_quorum(self) -> None:
        """Without a majority of live nodes a statement hangs, as on CockroachDB."""
        assert self._node.members is not None
        while not self._node.members.available:
            time.sleep(0.1)


def converse(client: Stream, upstream: Stream, on_query: Callable[[str, bytes], bytes | str | None]) -> None:
    """Carry a session. `on_query` gets each query and the transaction's status, and gives the bytes of an answer,
    another statement to send in its place, or None to send it as it is."""
    try:
        status = _carry_answer(upstream, client)
        while True:
            if wire.first_readable([client, upstream]) is upstream:
                client.write(wire.message(*wire.read_message(upstream)))
                continue
            kind, content = wire.read_message(client)
            if kind == b"Q":
                answer = on_query(content[:-1].decode(), status)
                if isinstance(answer, bytes):
                    client.write(answer)
                    continue
                if isinstance(answer, str):
                    content = answer.encode() + b"\0"
            upstream.write(wire.message(kind, content))
            if kind == b"X":
                return
            if kind in b"QSF":
                status = _carry_answer(upstream, client)
    finally:
        upstream.close()


def _carry_answer(upstream: Stream, client: Stream) -> bytes:
    """Carry messages until the server is ready for the next; its transaction status."""
    pending = b""
    while True:
        try:
            kind, content = wire.read_message(upstream)
        except wire.Closed:
            client.write(pending)  # its last words say why
            raise
        pending += wire.message(kind, content)
        if len(pending) > 1 << 16 or kind in b"ZG":
            client.write(pending)
            pending = b""
        if kind == b"Z":
            return content
        if kind == b"G":
            _carry_copy(client, upstream)


def _carry_copy(client: Stream, upstream: Stream) -> None:
    while True:
        kind, content = wire.read_message(client)
        upstream.write(wire.message(kind, content))
        if kind in b"cf":
            return


def _rows(upstream: Stream) -> list[list[str | None]]:
    found, failed = [], ""
    while True:
        kind, content = wire.read_message(upstream)
        if kind == b"D":
            found.append(wire.read_row(content))
        elif kind == b"E":
            failed = wire.read_fields(content)["M"]
            if wire.read_fields(content)["S"] == "FATAL":
                raise peers.Refused(failed)
        elif kind == b"Z":
            if failed:
                raise peers.Refused(failed)
            return found
