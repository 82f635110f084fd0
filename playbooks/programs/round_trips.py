"""Measure round trips: how long a TCP connection takes to be accepted or refused, which is one round trip each.

Nobody has to listen at the other end: its kernel refuses at once. The request is JSON on stdin: ``targets``, the number
of ``samples`` of each, and ``interval_s`` between two.
"""

from __future__ import annotations

import errno
import json
import resource
import selectors
import socket
import sys
import time
from typing import Any

PORT = 9  # discard; whether something listens there does not matter
ANSWERS = (0, errno.ECONNREFUSED)


class Target:
    """One destination, and what came back from it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.rtt_ms: list[float] = []
        self.lost = 0
        self.error = ""

    def connect(self, counts: bool) -> socket.socket | None:
        """Send a SYN; returns the socket, or None when the kernel knows no way there."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.bind((self.request["source"], 0))
            status = connection.connect_ex((self.request["address"], PORT))
        except OSError as error:
            status = error.errno or 0
        if status in (errno.EINPROGRESS, *ANSWERS):
            return connection
        connection.close()
        self.fail(status, counts)
        return None

    def fail(self, status: int, counts: bool = True) -> None:
        self.lost += counts
        self.error = errno.errorcode.get(status, str(status))

    def report(self) -> dict[str, Any]:
        return {
            "dst": self.request["dst"],
            "network": self.request["network"],
            "rtt_ms": [round(value, 4) for value in self.rtt_ms],
            "lost": self.lost,
            "error": self.error,
        }


Flying = dict[socket.socket, tuple[Target, float, bool]]  # connection -> to whom, when, does it count?


def schedule(targets: list[Target], samples: int, interval_s: float, start: float) -> list[tuple[float, Target, bool]]:
    """(when, target, counts?): one connection at a time, and a first one to each that only learns the way."""
    step = interval_s / len(targets)
    return [
        (start + round_number * interval_s + position * step, target, round_number > 0)
        for round_number in range(samples + 1)
        for position, target in enumerate(targets)
    ]


def collect(selector: selectors.BaseSelector, flying: Flying, timeout_s: float) -> None:
    """Take the answers that came, and give up those that will not come."""
    for key, _ in selector.select(max(timeout_s, 0)):
        arrived = time.perf_counter()
        connection: socket.socket = key.data
        target, sent, counts = flying.pop(connection)
        status = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not counts:
            pass
        elif status in ANSWERS:
            target.rtt_ms.append((arrived - sent) * 1000)
        else:
            target.fail(status)
        selector.unregister(connection)
        connection.close()
    now = time.perf_counter()
    for connection, (target, sent, counts) in list(flying.items()):
        if now - sent > target.request["patience_s"]:
            del flying[connection]
            target.lost += counts
            selector.unregister(connection)
            connection.close()


def measure(requests: list[dict[str, Any]], samples: int, interval_s: float) -> list[dict[str, Any]]:
    """One report per request."""
    targets = [Target(request) for request in requests]
    selector = selectors.DefaultSelector()
    flying: Flying = {}
    for when, target, counts in schedule(targets, samples, interval_s, time.perf_counter()):
        while (wait := when - time.perf_counter()) > 0:
            collect(selector, flying, wait)
        sent = time.perf_counter()
        connection = target.connect(counts)
        if connection is not None:
            flying[connection] = (target, sent, counts)
            selector.register(connection, selectors.EVENT_WRITE, connection)
    while flying:
        collect(selector, flying, 0.01)
    return [target.report() for target in targets]


def main() -> None:
    request = json.load(sys.stdin)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(measure(request["targets"], request["samples"], request["interval_s"])))


if __name__ == "__main__":
    main()
