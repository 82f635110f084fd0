"""Hold packets in the kernel's queues for a while: what netem does, for a kernel that has none.

A program of its own, run by its path with nothing but the standard library, one per host, in the host's network
namespace, where rules put arriving packets into numbered queues (NFQUEUE)::

    delay.py --host=NAME QUEUE:DELAY_MS:LOSS_PERCENT...

Packets stay in the kernel; only their numbers come here. All packets of a queue wait equally long, so they leave in
the order they came in, and one verdict lets go all that are due. On SIGTERM, what waits is let go and the end follows.

The protocol is nfnetlink_queue's (linux/netfilter/nfnetlink_queue.h); numbers are the kernel's byte order in
headers, the network's in what netfilter adds.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NETLINK_NETFILTER = 12
QUEUE_SUBSYSTEM = 3 << 8
MSG_PACKET, MSG_VERDICT, MSG_CONFIG, MSG_VERDICT_BATCH = (QUEUE_SUBSYSTEM | number for number in range(4))
NLMSG_ERROR = 2
REQUEST, REQUEST_ACK = 1, 5

CONFIG_COMMAND, CONFIG_PARAMS, CONFIG_MOST, CONFIG_MASK, CONFIG_FLAGS = 1, 2, 3, 4, 5
BIND = 1
COPY_META = 1
FLAG_GSO = 4
VERDICT_HEADER = 2
DROP, ACCEPT = 0, 1

SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_RCVBUFFORCE = 33

MOST_PACKETS = 1 << 18
"""Packets in a queue; more are dropped, as a router does. 150 ms at 10 Gbit/s are 125,000 packets of 1500 bytes."""
BUFFER_BYTES = 64 << 20
BATCH = 64
"""Packets taken in before looking again at those that are due."""
EARLY_S = 120e-6
"""Let go this much before the time: about what it takes to be woken twice, and to be heard."""


class Stop(Exception):
    """SIGTERM came."""


@dataclass
class Queue:
    """A queue of the kernel, and the packets that wait in it: (when they are due, number), in order."""

    number: int
    delay_s: float
    loss: float
    waiting: deque[tuple[float, int]] = field(default_factory=deque)


def parse(text: str) -> Queue:
    """``6100:50:0.1`` is queue 6100, 50 ms, 0.1 % lost."""
    number, delay_ms, loss_percent = text.split(":")
    return Queue(int(number), float(delay_ms) / 1000, float(loss_percent) / 100)


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def message(kind: int, flags: int, queue: int, *attributes: bytes) -> bytes:
    """A netlink message about a queue."""
    body = struct.pack("=BB", socket.AF_UNSPEC, 0) + struct.pack(">H", queue) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def verdict(kind: int, queue: int, what: int, packet: int) -> bytes:
    return message(kind, REQUEST, queue, attribute(VERDICT_HEADER, struct.pack(">II", what, packet)))


def configuration(queue: Queue) -> Iterator[bytes]:
    """Messages that take the queue over and set it up."""
    yield message(
        MSG_CONFIG, REQUEST_ACK, queue.number, attribute(CONFIG_COMMAND, struct.pack(">BBH", BIND, 0, socket.AF_INET))
    )
    # Big packets stay whole, unless some are lost: then each packet of the wire takes its own chance.
    flags = 0 if queue.loss else FLAG_GSO
    yield message(
        MSG_CONFIG,
        REQUEST_ACK,
        queue.number,
        attribute(CONFIG_PARAMS, struct.pack(">IB", 0, COPY_META)),
        attribute(CONFIG_MOST, struct.pack(">I", MOST_PACKETS)),
        attribute(CONFIG_MASK, struct.pack(">I", FLAG_GSO)),
        attribute(CONFIG_FLAGS, struct.pack(">I", flags)),
    )


def arrivals(buffer: bytes | bytearray, length: int) -> Iterator[tuple[int, int]]:
    """(queue, packet number) of each packet that is announced in what the kernel sent."""
    position = 0
    while position + 28 <= length:
        size, kind = struct.unpack_from("=IH", buffer, position)
        if kind == MSG_PACKET:
            # The header of the packet is the first attribute, and its number comes first in it.
            (queue,) = struct.unpack_from(">H", buffer, position + 18)
            (packet,) = struct.unpack_from(">I", buffer, position + 24)
            yield queue, packet
        position += max(16, (size + 3) & ~3)


class Delayer:
    """The queues of one host."""

    def __init__(self, queues: list[Queue]) -> None:
        self.queues = {queue.number: queue for queue in queues}
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self.socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        self.socket.bind((0, 0))
        for queue in queues:
            for setting in configuration(queue):
                self._order(setting, queue)
        self.socket.setblocking(False)

    def _order(self, setting: bytes, queue: Queue) -> None:
        self.socket.send(setting)
        (status,) = struct.unpack_from("=i", self.socket.recv(65536), 16)
        if status:
            raise OSError(-status, f"queue {queue.number}: {os.strerror(-status)}")

    def run(self) -> None:
        """Take packets in and let them go, until SIGTERM."""
        try:
            while True:
                self.release(time.monotonic() + EARLY_S)
                due = min((queue.waiting[0][0] for queue in self.queues.values() if queue.waiting), default=None)
                wait = None if due is None else max(0.0, due - EARLY_S - time.monotonic())
                if select.select([self.socket], [], [], wait)[0]:
                    self.take()
        except Stop:
            self.release(float("inf"))

    def take(self) -> None:
        """Note what arrived, and drop what is to be lost."""
        buffer = bytearray(65536)
        for _ in range(BATCH):
            try:
                length = self.socket.recv_into(buffer)
            except BlockingIOError:
                return
            arrived = time.monotonic()
            for number, packet in arrivals(buffer, length):
                queue = self.queues[number]
                if queue.loss and random.random() < queue.loss:
                    self.socket.send(verdict(MSG_VERDICT, number, DROP, packet))
                else:
                    queue.waiting.append((arrived + queue.delay_s, packet))

    def release(self, until: float) -> None:
        """Let go every packet that is due by `until`."""
        for queue in self.queues.values():
            waiting, last = queue.waiting, None
            while waiting and waiting[0][0] <= until:
                last = waiting.popleft()[1]
            if last is not None:
                self.socket.send(verdict(MSG_VERDICT_BATCH, queue.number, ACCEPT, last))


def be_punctual() -> None:
    """Ask for the processor before others, and for wake-ups that are not put together with others'."""
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1")
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:  # a cgroup without real-time budget
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)


def stop(*_: object) -> None:
    raise Stop


def main(arguments: list[str]) -> None:
    delayer = Delayer([parse(text) for text in arguments if not text.startswith("--")])
    signal.signal(signal.SIGTERM, stop)
    be_punctual()
    delayer.run()


if __name__ == "__main__":
    main(sys.argv[1:])
