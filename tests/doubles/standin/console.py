"""The HTTP port: ``/health``, ``/_status/vars``."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.doubles.standin import DISTRIBUTION
from tests.doubles.standin.trust import host_and_port

if TYPE_CHECKING:
    from tests.doubles.standin.node import Node

UNAVAILABLE = 14
"""gRPC's code, which CockroachDB's gateway puts in the body."""


class Console:
    """Serves a node's HTTP port in the background."""

    def __init__(self, node: Node, address: str) -> None:
        host, port = host_and_port(address, 8080)

        class Handler(_Handler):
            pass

        Handler.node = node
        server = ThreadingHTTPServer((host if address.rpartition(":")[0] else "", port), Handler)
        server.daemon_threads = True
        context = node.trust.console()
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if context else 'http'}://{host}:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    node: Node
    timeout = 10

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/health":
            ready = parse_qs(url.query).get("ready", ["0"])[0] in ("1", "true")
            self._health(why_not_ready(self.node) if ready else "")
        elif url.path in ("/_status/vars", "/metrics"):
            self._send(200, "text/plain", "".join(metrics(self.node)))
        else:
            self._send(404, "text/plain", "Not Found\n")

    def _health(self, why: str) -> None:
        body: dict[str, Any] = {"error": why, "code": UNAVAILABLE, "message": why, "details": []} if why else {}
        self._send(503 if why else 200, "application/json", json.dumps(body, indent=2))

    def _send(self, status: int, kind: str, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Health checks are no news."""


def why_not_ready(node: Node) -> str:
    """What ``/health?ready=1`` complains of; empty when the node takes clients."""
    if not node.initialised:
        return "node is waiting for cluster initialization"
    if node.draining:
        return "node is shutting down"
    available = node.members.available if node.members is not None else node.in_touch
    return "" if available and node.in_touch else "node is not healthy"


def metrics(node: Node) -> list[str]:
    """Prometheus text: the names are CockroachDB's, the numbers of SQL are counted, those of ranges are made up."""
    mine = next((entry for entry in node.seen if entry["id"] == node.id), {})
    label = f'store="{node.id}",node_id="{node.id}"'
    sql = ("select", "insert", "update", "delete", "txn_begin", "txn_commit", "txn_rollback", "ddl", "misc", "query")
    counted = {f"sql_{kind}_count": node.counters[f"sql_{kind}_count"] for kind in sql}
    counted |= {"sql_new_conns": node.counters["sql_conns_total"], "txn_restarts_serializable": 0}
    counted |= {"txn_restarts_txnpush": 0, "sql_restart_savepoint_count": 0, "sql_failure_count": 0}
    gauges = {
        "liveness_livenodes": sum(entry["live"] for entry in node.seen),
        "sql_conns": node.gateway.connections,
        "ranges": mine.get("ranges", 0),
        "ranges_underreplicated": mine.get("underreplicated", 0),
        "ranges_unavailable": mine.get("unavailable", 0),
        "replicas": mine.get("ranges", 0),
        "replicas_leaseholders": mine.get("ranges", 0) // max(len(node.seen), 1),
        "clock_offset_meannanos": 0,
        "sys_uptime": int(time.monotonic() - node.began_s),
        "sys_rss": 0,
    }
    lines = [f"# {DISTRIBUTION}\n"]
    for kind, values in (("counter", counted), ("gauge", gauges)):
        for name, value in values.items():
            lines += [f"# HELP {name} STAND-IN\n", f"# TYPE {name} {kind}\n", f"{name}{{{label}}} {value}\n"]
    return lines
