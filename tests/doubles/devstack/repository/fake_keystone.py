"""A fake Keystone: any password gives a token, and a token of any fake is valid. No part of OpenStack.

fake_keystone.py serve      on port 80, below /identity
fake_keystone.py ask URL    whether somebody answers there
"""

from __future__ import annotations

import http.server
import sys
import urllib.error
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        token = self.headers.get("X-Subject-Token", "")
        known = self.path.startswith("/identity/v3")
        self._answer(200 if known and (not token or token.startswith("fake-")) else 404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, {"X-Subject-Token": "fake-token"})

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def main() -> None:
    if sys.argv[1] == "serve":
        http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(sys.argv[2], timeout=5).close()
    except (urllib.error.URLError, OSError):
        sys.exit(1)


if __name__ == "__main__":
    main()
