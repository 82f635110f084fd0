"""Hosts that answer at once and do nothing, behind pipes as ssh would give them: one process plays them all."""

from __future__ import annotations

import io
import json
import os
import selectors
import signal
import socket
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from enos_crdb.door import Call
from enos_crdb.model import Host
from enos_crdb.testing import RecordingDoor
from tests.unit.rally_hosts import Hosts, a_report

CHUNK = 1 << 18
JOURNAL = "a line of a journal, as long as such lines are: somebody asked for something, and got an answer\n" * 300


def archive(**files: str) -> bytes:
    """A compressed tar archive of these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


COLLECTED = archive(
    **{"versions.json": json.dumps({"packages": {f"lib{n}": "1.0" for n in range(40)}}), "journal": JOURNAL}
)


class Connection:
    """What `enos_crdb.door.Pipe` wants, over a socket."""

    def __init__(self, end: socket.socket) -> None:
        self.stdin: IO[bytes] | None = os.fdopen(os.dup(end.fileno()), "wb", buffering=0)
        self.stdout: IO[bytes] | None = os.fdopen(os.dup(end.fileno()), "rb", buffering=0)
        silent, self._held = os.pipe()
        self.stderr: IO[bytes] | None = os.fdopen(silent, "rb", buffering=0)
        end.close()
        self._ended = False

    def kill(self) -> None:
        if not self._ended:
            os.close(self._held)
        self._ended = True

    def poll(self) -> int | None:
        return 0

    def wait(self) -> int:
        return 0


class Stub:
    """`connect` is for `SshDoor`; the process behind it lives as long as the block."""

    def __init__(self, hosts: Sequence[Host], scratch: Path) -> None:
        pairs = [(host, *socket.socketpair()) for host in hosts]
        self._ours = {f"{host.user}@{host.address}": ours for host, ours, _ in pairs}
        self._pid = os.fork()
        if self._pid == 0:
            for _, ours, _ in pairs:
                ours.close()
            try:
                serve([Played(host, theirs) for host, _, theirs in pairs], scratch)
            finally:
                os._exit(0)
        for _, _, theirs in pairs:
            theirs.close()

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def connect(self, argv: Sequence[str]) -> Connection:
        """The host that this ssh would have led to; each can be had once."""
        return Connection(self._ours.pop(argv[list(argv).index("--") + 1]))


class Played:
    """A host, and what it was sent."""

    def __init__(self, host: Host, end: socket.socket) -> None:
        self.host, self.end = host, end
        self._received = b""
        self._skip = -1
        """Bytes of the agent that are still to come; -1: its size is not known yet."""

    def requests(self, chunk: bytes) -> Iterator[bytes]:
        """The requests that are whole now that `chunk` came."""
        self._received += chunk
        if self._skip < 0 and b"\n" in self._received:
            size, _, self._received = self._received.partition(b"\n")
            self._skip = int(size)
        skipped = min(max(self._skip, 0), len(self._received))
        self._skip, self._received = self._skip - skipped, self._received[skipped:]
        while self._skip == 0 and b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            yield line


def serve(hosts: Sequence[Played], scratch: Path) -> None:
    """Answer requests until all connections have ended."""
    double = RecordingDoor(effect=Hosts(a_report()))
    with selectors.DefaultSelector() as selector:
        for host in hosts:
            selector.register(host.end, selectors.EVENT_READ, host)
        while selector.get_map():
            for key, _ in selector.select():
                host = key.data
                chunk = host.end.recv(CHUNK)
                if not chunk:
                    selector.unregister(host.end)
                for line in host.requests(chunk):
                    host.end.sendall(reply(double, host.host, json.loads(line), scratch))
                    double.calls.clear()


def reply(double: RecordingDoor, host: Host, asked: Mapping[str, Any], scratch: Path) -> bytes:
    """What the agent of a host that is well would say."""
    if "programs" in asked:
        return b'{"ready": true}\n'
    path = scratch / "fetched" if "file" in asked else None
    request = json.loads(asked["input"]) if "input" in asked else None
    answer = double.answer(Call(host=host, argv=tuple(asked["argv"]), request=request, to=path))
    said = {"status": answer.status, "stdout": answer.stdout, "stderr": answer.stderr}
    content = path.read_bytes() if path and path.exists() else COLLECTED
    if path:
        said["size"] = len(content)
        path.unlink(missing_ok=True)
    return json.dumps(said).encode() + b"\n" + (content if path else b"")
