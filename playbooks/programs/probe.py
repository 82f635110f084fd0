"""Watch the way to other hosts while they are loaded: round trips five times a second, and what TCP sent again.

    probe.py start NAME FILE   < request     do that in a transient unit, and end those of other runs
    probe.py stop NAME                       end that unit, if it is there
    probe.py run FILE                        what the unit executes; the request is in FILE.json

A round trip is measured as `round_trips` does, by connections that are refused at once. The request is JSON:
``targets`` and ``interval_s``. FILE is CSV: time (epoch), dst, network, value: milliseconds, empty for an answer that
did not come. Rows without dst are counters of this host: ``sent`` and ``retransmitted`` TCP segments.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any, TextIO

import watcher
from round_trips import ANSWERS, Target

UNITS = "enos-crdb-probe-"
COUNT_S = 0.5
"""How often the counters are read."""
Flying = dict[socket.socket, tuple[Target, float, float]]  # connection -> to whom, when (monotonic, epoch)


def counters() -> dict[str, int]:
    with open("/proc/net/snmp") as stream:
        names, values = [line.split()[1:] for line in stream if line.startswith("Tcp:")]
    found = dict(zip(names, map(int, values), strict=True))
    return {"sent": found["OutSegs"], "retransmitted": found["RetransSegs"]}


class Probe:
    """Connections that are under way, and the file that their answers go to."""

    def __init__(self, request: dict[str, Any], output: TextIO) -> None:
        self.targets = [Target(target) for target in request["targets"]]
        self.output = output
        self.flying: Flying = {}
        self.selector = selectors.DefaultSelector()

    def write(self, at: float, target: Target, value: str) -> None:
        self.output.write(f"{at:.4f},{target.request['dst']},{target.request['network']},{value}\n")

    def send(self, target: Target) -> None:
        before, at = time.perf_counter(), time.time()
        connection = target.connect(counts=True)
        if connection is None:
            self.write(at, target, "")
            return
        self.flying[connection] = (target, before, at)
        self.selector.register(connection, selectors.EVENT_WRITE)

    def receive(self, timeout_s: float) -> None:
        """Write the answers that come within that time, and give up those that are late."""
        for key, _ in self.selector.select(max(timeout_s, 0.0)):
            arrived = time.perf_counter()
            connection: socket.socket = key.fileobj  # type: ignore[assignment]
            target, sent, at = self.end(connection)
            status = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.write(at, target, f"{(arrived - sent) * 1000:.3f}" if status in ANSWERS else "")
            connection.close()
        now = time.perf_counter()
        for connection, (target, sent, at) in list(self.flying.items()):
            if now - sent > target.request["patience_s"]:
                self.end(connection)
                connection.close()
                self.write(at, target, "")

    def end(self, connection: socket.socket) -> tuple[Target, float, float]:
        self.selector.unregister(connection)
        return self.flying.pop(connection)

    def count(self) -> None:
        at = time.time()
        for name, value in counters().items():
            self.output.write(f"{at:.4f},,{name},{value}\n")


def run(path: str) -> None:
    with open(f"{path}.json") as stream:
        request = json.load(stream)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    with open(path, "a", buffering=1 << 16) as output:
        if not output.tell():
            output.write("time,dst,network,value\n")
        probe = Probe(request, output)
        step = request["interval_s"] / max(1, len(probe.targets))
        following, counted, turn = time.monotonic(), 0.0, 0
        while not stopped:
            if time.monotonic() - counted > COUNT_S:
                counted = time.monotonic()
                probe.count()
                output.flush()
            if probe.targets:
                probe.send(probe.targets[turn % len(probe.targets)])
            turn += 1
            following = max(following + step, time.monotonic())
            while not stopped and (rest := following - time.monotonic()) > 0:
                probe.receive(min(rest, 0.1)) if probe.flying else time.sleep(min(rest, 0.1))
        probe.count()


def start(name: str, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.json", "w") as stream:
        stream.write(sys.stdin.read())
    watcher.start(UNITS, name, __file__, ["run", path])


if __name__ == "__main__":
    action, *words = sys.argv[1:]
    if action == "start":
        start(*words)
    elif action == "stop":
        watcher.stop(UNITS, *words)
    else:
        run(*words)
