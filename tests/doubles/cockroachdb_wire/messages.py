"""PostgreSQL's wire protocol (version 3), as far as simple queries need it: both sides of it."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Mapping, Sequence

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102
PROTOCOL_3 = 196608

Address = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""

_CHUNK = 65536
_LONGEST_STARTUP = 1 << 24


class ConnectionEnded(Exception):
    """The other side of a connection is gone."""


class Wire:
    """A socket that is read message by message."""

    def __init__(self, stream: socket.socket) -> None:
        self.socket = stream
        self._buffer = bytearray()
        if stream.family != socket.AF_UNIX:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self) -> tuple[bytes, bytes]:
        """The next message: its type and its body."""
        self._fill(5)
        length = int.from_bytes(self._buffer[1:5], "big") + 1
        self._fill(length)
        kind, body = bytes(self._buffer[:1]), bytes(self._buffer[5:length])
        del self._buffer[:length]
        return kind, body

    def read_startup(self) -> tuple[int, bytes]:
        """The next message of the kind that opens a connection: its code and what follows."""
        self._fill(8)
        length, code = struct.unpack("!II", self._buffer[:8])
        if not 8 <= length <= _LONGEST_STARTUP:
            raise ConnectionEnded(f"nothing of this protocol begins with a length of {length}")
        self._fill(length)
        body = bytes(self._buffer[8:length])
        del self._buffer[:length]
        return code, body

    def received(self) -> bytes:
        """Whatever has come, be it whole messages or not; waits for the first byte."""
        self._fill(1)
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (OSError, ValueError) as error:
            raise ConnectionEnded(str(error)) from error

    def buffered(self) -> bool:
        """Whether something was received that poll() does not tell of."""
        pending = getattr(self.socket, "pending", None)
        return bool(self._buffer) or (pending is not None and pending() > 0)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the other side was faster
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _fill(self, length: int) -> None:
        while len(self._buffer) < length:
            try:
                received = self.socket.recv(_CHUNK)
            except (OSError, ValueError) as error:
                raise ConnectionEnded(str(error)) from error
            if not received:
                raise ConnectionEnded("end of stream")
            self._buffer += received


def connect(address: Address, timeout_s: float | None = None) -> Wire:
    """A connection, before its first message. Raises `OSError`."""
    if not isinstance(address, str):
        return Wire(socket.create_connection(address, timeout=timeout_s))
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.connect(address)
    except OSError:
        stream.close()
        raise
    return Wire(stream)


def readable(*wires: Wire, timeout_s: float | None = None) -> list[Wire]:
    """Those of `wires` from which something can be read (be it their end), as soon as there is one."""
    if ahead := [wire for wire in wires if wire.buffered()]:
        return ahead
    poll = select.poll()
    try:
        for wire in wires:
            poll.register(wire.socket, select.POLLIN)
    except ValueError as error:
        raise ConnectionEnded("closed on this side") from error
    found = {descriptor for descriptor, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)}
    return [wire for wire in wires if wire.socket.fileno() in found]


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def startup(code: int, body: bytes) -> bytes:
    return struct.pack("!II", len(body) + 8, code) + body


def query(sql: str) -> bytes:
    return message(b"Q", sql.encode() + b"\0")


def ready(status: bytes) -> bytes:
    return message(b"Z", status)


def complete(tag: str) -> bytes:
    return message(b"C", tag.encode() + b"\0")


def parameter(name: str, value: str) -> bytes:
    return message(b"S", f"{name}\0{value}\0".encode())


def fields(values: Mapping[str, str]) -> bytes:
    """The body of an error or a notice."""
    return b"".join(name.encode() + value.encode() + b"\0" for name, value in values.items()) + b"\0"


def parse_fields(body: bytes) -> dict[str, str]:
    return {chr(part[0]): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}


def error(sqlstate: str, text: str, *, hint: str = "", severity: str = "ERROR") -> bytes:
    values = {"S": severity, "V": severity, "C": sqlstate, "M": text}
    return message(b"E", fields({**values, "H": hint} if hint else values))


def notice(sqlstate: str, text: str, *, severity: str = "NOTICE") -> bytes:
    return message(b"N", fields({"S": severity, "V": severity, "C": sqlstate, "M": text}))


def rows(columns: Sequence[str], values: Sequence[Sequence[str | None]]) -> bytes:
    """A result of text columns, without its command tag."""
    described = struct.pack("!H", len(columns))
    for name in columns:
        described += name.encode() + b"\0" + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0)
    data = b"".join(message(b"D", _row(row)) for row in values)
    return message(b"T", described) + data


def _row(values: Sequence[str | None]) -> bytes:
    encoded = (None if value is None else value.encode() for value in values)
    cells = (struct.pack("!i", -1) if cell is None else struct.pack("!i", len(cell)) + cell for cell in encoded)
    return struct.pack("!H", len(values)) + b"".join(cells)


def parse_columns(body: bytes) -> list[str]:
    """Their names."""
    count, offset, found = int.from_bytes(body[:2], "big"), 2, list[str]()
    for _ in range(count):
        end = body.index(b"\0", offset)
        found.append(body[offset:end].decode())
        offset = end + 19
    return found


def parse_row(body: bytes) -> list[str | None]:
    count, offset, found = int.from_bytes(body[:2], "big"), 2, list[str | None]()
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, offset)
        offset += 4
        found.append(None if length < 0 else body[offset : offset + length].decode())
        offset += max(length, 0)
    return found


def parse_parameters(body: bytes) -> dict[str, str]:
    """Names and values of a startup message."""
    parts = [part.decode() for part in body.split(b"\0")]
    return {name: value for name, value in zip(parts[::2], parts[1::2], strict=False) if name}


def encode_parameters(values: Mapping[str, str]) -> bytes:
    return b"".join(f"{name}\0{value}\0".encode() for name, value in values.items()) + b"\0"
