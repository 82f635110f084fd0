"""The way of a client's statements from any node to the PostgreSQL of the node that was initialised.

What is answered there is the wire double's; this node counts, and waits for a quorum.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.doubles.cockroachdb_wire import Answer, Client, ConnectionEnded, Double, Refusal, Statement, Wire, messages
from tests.doubles.standin import peers
from tests.doubles.standin.cluster_statements import ClusterSession
from tests.doubles.standin.trust import CertificateError, Unreachable

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
        self._clients: set[Wire] = set()
        self._double = Double(backend=str(node.postgres.door), version=node.settings.version)

    @property
    def connections(self) -> int:
        return len(self._clients)

    def close(self) -> None:
        """End what is idle; CockroachDB's drain does so after its waiting periods."""
        with self._lock:
            for client in self._clients:
                client.send(messages.error("57P01", "server is shutting down", severity="FATAL"))
                client.close()

    def serve(self, client: Wire, parameters: Mapping[str, str]) -> None:
        """A client of this node that is let in, until it goes."""
        if not self._takes(client):
            return
        with self._lock:
            self._clients.add(client)
            self._node.counters["sql_conns_total"] += 1
        try:
            relay(client, self._way_to_sql(parameters), self._count)
        except (Unreachable, peers.Refused, CertificateError) as error:
            client.send(messages.error("57P03", f"STAND-IN: {error}", severity="FATAL"))
        finally:
            with self._lock:
                self._clients.discard(client)

    def serve_sql(self, client: Wire, parameters: Mapping[str, str], node: int) -> None:
        """A client of node `node`, on the node that has PostgreSQL."""
        assert self._node.members is not None
        session = ClusterSession(
            members=self._node.members,
            user=parameters.get("user", "root"),
            database=parameters.get("database") or "defaultdb",
            node=node,
            version=self._double.version,
            ask=self.ask,
        )

        def respond(statement: Statement) -> Answer | Refusal | Statement | None:
            self._wait_for_a_quorum()
            return session.answer(statement.sql)

        self._node.sql_open.wait()  # other nodes may be up before PostgreSQL has recovered from a kill
        self._double.serve(client, {**parameters, "database": session.database}, respond)

    def ask(self, sql: str, database: str = "defaultdb") -> tuple[tuple[str | None, ...], ...]:
        """Rows of a query of our own, as root. Raises `peers.Refused` with PostgreSQL's words."""
        client = Client(self._node.postgres.connect(), user="root", database=database)
        if client.refused:
            raise peers.Refused(client.refused["M"])
        reply = client(sql)
        client.close()
        if reply.error:
            raise peers.Refused(reply.error["M"])
        return reply.rows

    def _takes(self, client: Wire) -> bool:
        while not self._node.in_touch:  # CockroachDB does not read from its SQL port before it is initialised
            if messages.readable(client, timeout_s=0.2):
                return False
        if self._node.draining:
            text = "server is not accepting clients, try another node"
            client.send(messages.error("57P01", text, severity="FATAL"))
        return not self._node.draining

    def _way_to_sql(self, parameters: Mapping[str, str]) -> Wire:
        """A connection to the node that has PostgreSQL, be it this one."""
        if self._node.members is None:
            request = {"call": "sql", "startup": parameters, "node": self._node.id}
            return peers.open_call(self._node.leader, self._node.trust, request)[0]
        near, far = socket.socketpair()
        arguments = (Wire(far), parameters, self._node.id or 1)
        threading.Thread(target=self.serve_sql, args=arguments, daemon=True).start()
        return Wire(near)

    def _count(self, sql: str) -> None:
        verb = Statement(sql).verb
        kind = "ddl" if verb in DDL else VERBS.get(verb, "misc")
        with self._lock:
            self._node.counters[f"sql_{kind}_count"] += 1
            self._node.counters["sql_query_count"] += 1

    def _wait_for_a_quorum(self) -> None:
        """Without a majority of live nodes a statement hangs, as on CockroachDB."""
        assert self._node.members is not None
        while not self._node.members.available:
            time.sleep(0.1)


def relay(client: Wire, upstream: Wire, heard: Callable[[str], None]) -> None:
    """Carry a session until a side is gone; `heard` is told the text of each query."""
    with contextlib.suppress(ConnectionEnded), contextlib.closing(upstream):
        while True:
            for side in messages.readable(client, upstream):
                if side is upstream:
                    client.send(upstream.received())
                    continue
                kind, body = client.read()
                if kind == b"Q":
                    heard(body[:-1].decode())
                upstream.send(messages.message(kind, body))
