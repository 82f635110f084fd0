"""What answers on a host while enos_crdb measures: it runs what it is told, one thing after the other.

Sent over ssh and never written to the host's disk; standard library only, Python 3.9 or newer. One JSON object a line
comes in on stdin, one goes out on stdout:

    {"programs": {name: text}}                       our programs, kept in PROGRAMS    -> {"ready": true}
    {"argv": [...], "input": "...", "timeout_s": 9}  run it                            -> {"status", "stdout", "stderr"}
    the same with "file": path                       -> ... "size": n, then the n bytes of that file, if the status is 0

When stdin ends, so does this, and whatever it runs (what has to outlive a lost connection is a systemd unit).
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

PROGRAMS = "/run/enos_crdb/programs"
"""Where our programs are until the host is started again."""
CHUNK = 1 << 16

unread = bytearray()
"""Requests that came while something was running."""


def main() -> None:
    os.umask(0o077)
    while line := request():
        asked = json.loads(line)
        if "programs" in asked:
            keep(asked["programs"])
            answer({"ready": True})
            continue
        said = run(asked["argv"], asked.get("input", ""), asked["timeout_s"])
        if "file" in asked and said["status"] == 0:
            send(said, asked["file"])
        else:
            answer(said)


def request() -> bytes:
    """The next line of stdin; empty at its end."""
    while b"\n" not in unread:
        chunk = os.read(0, CHUNK)
        if not chunk:
            return b""
        unread.extend(chunk)
    line, _, rest = bytes(unread).partition(b"\n")
    unread[:] = rest
    return line


def answer(said: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n")
    sys.stdout.buffer.flush()


def send(said: dict[str, Any], path: str) -> None:
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        answer({**said, "status": 1, "stderr": f"{path} cannot be read: {error.strerror}"})
        return
    with stream:
        size = os.fstat(stream.fileno()).st_size
        answer({**said, "size": size})
        while size:
            chunk = stream.read(min(size, CHUNK))
            if not chunk:
                sys.exit(f"{path} became shorter while it was sent")
            sys.stdout.buffer.write(chunk)
            size -= len(chunk)
    sys.stdout.buffer.flush()


def keep(programs: dict[str, str]) -> None:
    os.makedirs(PROGRAMS, mode=0o700, exist_ok=True)
    for name, text in programs.items():
        path = os.path.join(PROGRAMS, name)
        new = f"{path}.{os.getpid()}"  # another agent may do the same now
        with open(new, "w") as stream:
            stream.write(text)
        os.replace(new, path)


def run(argv: list[str], text: str, timeout_s: float) -> dict[str, Any]:
    """Run a command to its end, in a session of its own: status, stdout and stderr."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return {"status": 127, "stdout": "", "stderr": f"{error.filename or argv[0]}: {error.strerror}"}
    assert process.stdin
    assert process.stdout
    assert process.stderr
    said = {process.stdout: bytearray(), process.stderr: bytearray()}
    left = memoryview(text.encode())
    deadline = time.monotonic() + timeout_s
    late = False
    with selectors.DefaultSelector() as selector:
        for stream in said:
            selector.register(stream, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while any(stream in selector.get_map() for stream in said):
            if not late and time.monotonic() > deadline:
                late = True
                end(process)
            for key, _ in selector.select(max(0.05, deadline - time.monotonic()) if not late else 1.0):
                if key.fileobj is process.stdin:
                    left = feed(process, left)
                    if not left:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                chunk = os.read(key.fd, CHUNK)
                if key.fileobj == 0:
                    if not chunk:  # nobody is there any more to read the answer
                        end(process)
                        process.wait()
                        sys.exit(0)
                    unread.extend(chunk)
                elif chunk:
                    said[key.fileobj].extend(chunk)  # type: ignore[index]
                else:
                    selector.unregister(key.fileobj)
    status = process.wait()
    out, complaint = (said[stream].decode(errors="replace") for stream in (process.stdout, process.stderr))
    if late:
        status, complaint = 124, f"{complaint}\nended after {timeout_s:g} s".strip()
    return {"status": status, "stdout": out, "stderr": complaint}


def feed(process: subprocess.Popen[bytes], left: memoryview) -> memoryview:
    """Write some of a command's input; what is left of it. One that does not read loses it."""
    assert process.stdin
    try:
        return left[os.write(process.stdin.fileno(), left[:CHUNK]) :] if left else left
    except BlockingIOError:
        return left
    except BrokenPipeError:
        return memoryview(b"")


def end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
