"""What nodes (and ``cockroach init``, ``cockroach node status``) ask each other, over the port SQL uses."""

from __future__ import annotations

import json
from typing import Any

from tests.doubles.standin import wire
from tests.doubles.standin.trust import Trust, Unreachable, connect
from tests.doubles.standin.wire import Stream

CALL = 0x53544449
"""Code of the packet a call begins with; PostgreSQL has none like it."""


class Refused(Exception):
    """The other node understood and said no; the message is its answer."""


def call(address: str, trust: Trust, request: dict[str, Any], *, user: str = "node", timeout_s: float = 5) -> Any:
    """Ask the node at `address`. Raises `Unreachable`, `Refused`, `CertificateError`."""
    stream, answer = open_call(address, trust, request, user=user, timeout_s=timeout_s)
    stream.close()
    return answer


def open_call(
    address: str, trust: Trust, request: dict[str, Any], *, user: str = "node", timeout_s: float = 5
) -> tuple[Stream, Any]:
    """Like `call`, but the connection stays open for what follows the answer."""
    stream = connect(address, trust, user, timeout_s)
    stream.socket.settimeout(timeout_s)
    try:
        stream.write(wire.packet(CALL, json.dumps(request).encode()))
        answer = json.loads(wire.read_packet(stream)[1])
    except wire.Closed as error:
        stream.close()
        raise Unreachable(f"{address}: {error}") from error
    if "refused" in answer:
        stream.close()
        raise Refused(answer["refused"])
    stream.socket.settimeout(None)
    return stream, answer["answer"]


def reply(stream: Stream, answer: Any) -> None:
    stream.write(wire.packet(CALL, json.dumps({"answer": answer}).encode()))


def refuse(stream: Stream, why: str) -> None:
    stream.write(wire.packet(CALL, json.dumps({"refused": why}).encode()))
