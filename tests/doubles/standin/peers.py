"""What nodes (and ``cockroach init``, ``cockroach node status``) ask each other, over the port SQL uses."""

from __future__ import annotations

import json
from typing import Any

from tests.doubles.cockroachdb_wire import ConnectionEnded, Wire, messages
from tests.doubles.standin.trust import Trust, Unreachable, connect

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
) -> tuple[Wire, Any]:
    """Like `call`, but the connection stays open for what follows the answer."""
    stream = connect(address, trust, user, timeout_s)
    stream.socket.settimeout(timeout_s)
    try:
        stream.send(messages.startup(CALL, json.dumps(request).encode()))
        answer = json.loads(stream.read_startup()[1])
    except ConnectionEnded as error:
        stream.close()
        raise Unreachable(f"{address}: {error}") from error
    if "refused" in answer:
        stream.close()
        raise Refused(answer["refused"])
    stream.socket.settimeout(None)
    return stream, answer["answer"]


def reply(stream: Wire, answer: Any) -> None:
    stream.send(messages.startup(CALL, json.dumps({"answer": answer}).encode()))


def refuse(stream: Wire, why: str) -> None:
    stream.send(messages.startup(CALL, json.dumps({"refused": why}).encode()))
