"""PostgreSQL's wire protocol: messages of a connection, one at a time.

Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol".
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from collections.abc import Iterable, Mapping, Sequence

PROTOCOL_3 = 196608
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102
TEXT_OID = 25


class Closed(ConnectionError):
    """The other side is gone."""


class Stream:
    """A socket, plain or TLS, read by exact amounts."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._ahead = b""
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises `Closed`."""
        while len(self._ahead) < count:
            try:
                more = self.socket.recv(1 << 16)
            except (OSError, ValueError) as error:
                raise Closed(str(error)) from error
            if not more:
                raise Closed("end of stream")
            self._ahead += more
        content, self._ahead = self._ahead[:count], self._ahead[count:]
        return content

    def write(self, content: bytes) -> None:
        """Send everything. Raises `Closed`."""
        try:
            self.socket.sendall(content)
        except (OSError, ValueError) as error:
            raise Closed(str(error)) from error

    def waiting(self) -> bool:
        """Whether there is something that select(2) does not see any more."""
        return bool(self._ahead) or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0)

    def close(self) -> None:
        self.socket.close()


def first_readable(streams: Sequence[Stream], timeout_s: float | None = None) -> Stream | None:
    """The first of `streams` with something to read (or its end); nothing after `timeout_s`."""
    for stream in streams:
        if stream.waiting():
            return stream
    try:
        readable, _, _ = select.select([stream.socket for stream in streams], [], [], timeout_s)
    except (OSError, ValueError) as error:
        raise Closed(str(error)) from error
    return next((stream for stream in streams if stream.socket in readable), None)


def packet(code: int, content: bytes = b"") -> bytes:
    """An untyped packet, as a connection begins with."""
    return struct.pack("!II", len(content) + 8, code) + content


def read_packet(stream: Stream) -> tuple[int, bytes]:
    """Code and content of an untyped packet."""
    length, code = struct.unpack("!II", stream.read(8))
    if not 8 <= length <= 1 << 24:
        raise Closed(f"no packet of this protocol begins with a length of {length}")
    return code, stream.read(length - 8)


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(content) + 4) + content


def read_message(stream: Stream) -> tuple[bytes, bytes]:
    """Type and content of a message."""
    head = stream.read(5)
    return head[:1], stream.read(struct.unpack("!I", head[1:])[0] - 4)


def startup(parameters: Mapping[str, str]) -> bytes:
    words = b"".join(text.encode() + b"\0" for pair in parameters.items() for text in pair)
    return packet(PROTOCOL_3, words + b"\0")


def read_startup(content: bytes) -> dict[str, str]:
    words = content.decode().split("\0")
    return dict(zip(words[0:-2:2], words[1:-1:2], strict=False))


def query(sql: str) -> bytes:
    return message(b"Q", sql.encode() + b"\0")


def error(code: str, text: str, *, severity: str = "ERROR", hint: str = "") -> bytes:
    fields = {"S": severity, "V": severity, "C": code, "M": text, "H": hint}
    return message(b"E", b"".join(k.encode() + v.encode() + b"\0" for k, v in fields.items() if v) + b"\0")


def read_fields(content: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by their letter."""
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in content.split(b"\0") if part}


def columns(names: Iterable[str]) -> bytes:
    """RowDescription: every column is text."""
    described = [name.encode() + b"\0" + struct.pack("!IhIhih", 0, 0, TEXT_OID, -1, -1, 0) for name in names]
    return message(b"T", struct.pack("!h", len(described)) + b"".join(described))


def read_columns(content: bytes) -> list[str]:
    names = []
    position = 2
    for _ in range(struct.unpack("!h", content[:2])[0]):
        end = content.index(b"\0", position)
        names.append(content[position:end].decode())
        position = end + 19
    return names


def row(values: Iterable[str | None]) -> bytes:
    cells = [b"\xff\xff\xff\xff" if v is None else struct.pack("!i", len(v.encode())) + v.encode() for v in values]
    return message(b"D", struct.pack("!h", len(cells)) + b"".join(cells))


def read_row(content: bytes) -> list[str | None]:
    values: list[str | None] = []
    position = 2
    for _ in range(struct.unpack("!h", content[:2])[0]):
        length = struct.unpack("!i", content[position : position + 4])[0]
        position += 4
        values.append(None if length < 0 else content[position : position + length].decode())
        position += max(length, 0)
    return values


def complete(tag: str) -> bytes:
    return message(b"C", tag.encode() + b"\0")


def ready(status: bytes) -> bytes:
    return message(b"Z", status)
