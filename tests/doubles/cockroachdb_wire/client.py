"""A minimal client of the simple query protocol."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import messages
from .messages import Address, Wire


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back for one query message."""

    status: str
    tag: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    error: dict[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def sqlstate(self) -> str:
        return self.error.get("C", "")


class Client:
    """A session, over a connection of its own or one that is given. ``refused``: why there is none."""

    def __init__(self, to: Address | Wire, *, user: str = "postgres", database: str = "d", **parameters: str) -> None:
        self.wire = to if isinstance(to, Wire) else messages.connect(to, timeout_s=30)
        values = {"user": user, "database": database, **parameters}
        self.wire.send(messages.startup(messages.PROTOCOL_3, messages.encode_parameters(values)))
        self.parameters: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        while (message := self.wire.read())[0] not in {b"Z", b"E"}:
            if message[0] == b"S":
                self.parameters |= messages.parse_parameters(message[1])
        if message[0] == b"E":
            self.refused = messages.parse_fields(message[1])

    def __call__(self, sql: str) -> Reply:
        self.wire.send(messages.query(sql))
        return self._reply()

    def _reply(self) -> Reply:
        tag, columns, rows, error, notices = "", tuple[str, ...](), list[tuple[str | None, ...]](), {}, list[str]()
        while True:
            kind, body = self.wire.read()
            match kind:
                case b"C":
                    tag = body[:-1].decode()
                case b"T":
                    columns = tuple(messages.parse_columns(body))
                case b"D":
                    rows.append(tuple(messages.parse_row(body)))
                case b"E":
                    error = messages.parse_fields(body)
                case b"N":
                    notices.append(messages.parse_fields(body)["M"])
                case b"Z":
                    return Reply(
                        status=body.decode(),
                        tag=tag,
                        columns=columns,
                        rows=tuple(rows),
                        error=error,
                        notices=tuple(notices),
                    )

    def close(self) -> None:
        self.wire.send(messages.message(b"X"))
        self.wire.close()
