"""What empties Keystone's cache and waits for Keystone, against sockets of this machine."""

from __future__ import annotations

import http.server
import io
import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.unit import role_files

fresh = role_files.program("fresh_keystone")


@contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Memcached(socketserver.TCPServer):
    """Answers one command with `answer`, and remembers it."""

    allow_reuse_address = True

    def __init__(self, answer: bytes) -> None:
        self.asked: list[bytes] = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(handler) -> None:
                self.asked.append(handler.rfile.readline())
                handler.wfile.write(answer)

        super().__init__(("127.0.0.1", 0), Handler)


class Keystone(http.server.HTTPServer):
    """Answers with these statuses, one after the other; the last again and again."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                handler.send_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
                handler.end_headers()

            def log_message(handler, *_: Any) -> None:
                """Silence."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v3"


def ask(monkeypatch: pytest.MonkeyPatch, url: str, *, flush: bool, timeout_s: float = 5.0) -> None:
    request = {"url": url, "unit": "keystone.service", "flush": flush, "timeout_s": timeout_s}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
    fresh.main()


def test_the_cache_is_emptied_and_keystone_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    memcached, keystone = Memcached(b"OK\r\n"), Keystone(500, 503, 200)
    monkeypatch.setattr(fresh, "MEMCACHED", memcached.server_address)
    with served(memcached), served(keystone):
        ask(monkeypatch, keystone.url, flush=True)
        assert memcached.asked == [b"flush_all\r\n"]
        assert keystone.statuses == [200]


def test_a_keystone_without_cache_is_only_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fresh, "MEMCACHED", ("127.0.0.1", 9))
    with served(keystone := Keystone(200)):
        ask(monkeypatch, keystone.url, flush=False)
    assert json.loads(capsys.readouterr().out) == {"flushed": False}


@pytest.mark.parametrize("answer", [b"ERROR\r\n", b""])
def test_a_cache_that_is_not_emptied_is_a_failure(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    memcached = Memcached(answer)
    monkeypatch.setattr(fresh, "MEMCACHED", memcached.server_address)
    with served(memcached), pytest.raises(SystemExit, match="could not be emptied: " + answer.decode().strip()):
        ask(monkeypatch, "http://127.0.0.1:9/v3", flush=True)


def test_a_cache_that_is_down_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "MEMCACHED", ("127.0.0.1", 9))
    with pytest.raises(SystemExit, match=r"memcached at 127.0.0.1:9 could not be emptied: .*refused"):
        ask(monkeypatch, "http://127.0.0.1:9/v3", flush=True)


def test_a_keystone_that_does_not_come_is_told_with_its_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    journalctl = tmp_path / "journalctl"
    journalctl.write_text("#!/bin/sh\necho the end of $1\n")
    journalctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with served(keystone := Keystone(503)), pytest.raises(SystemExit) as ended:
        ask(monkeypatch, keystone.url, flush=False, timeout_s=0.0)
    assert "(HTTP 503 Service Unavailable)" in str(ended.value)
    assert "the end of --unit=keystone.service" in str(ended.value)
