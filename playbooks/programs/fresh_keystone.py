"""Empty Keystone's cache on this host and wait until Keystone answers; run on hosts of role keystone.

The request is JSON on stdin: ``url`` of Keystone's API, its systemd ``unit``, whether to ``flush`` memcached, and
``timeout_s``. Connections to a database that was made anew are dead; oslo.db tests each before it is used.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

MEMCACHED = ("127.0.0.1", 11211)


def main() -> None:
    request = json.load(sys.stdin)
    if request["flush"]:
        flush()
    if reason := wait(request["url"], request["timeout_s"]):
        journal = ["journalctl", f"--unit={request['unit']}", "--lines=15", "--no-pager", "--output=cat"]
        said = subprocess.run(journal, stdout=subprocess.PIPE, text=True, errors="replace", check=False).stdout
        sys.exit(f"Keystone does not answer at {request['url']} ({reason}). The end of its journal:\n{said}")
    print(json.dumps({"flushed": request["flush"]}))


def flush() -> None:
    try:
        with socket.create_connection(MEMCACHED, timeout=5) as connection:
            connection.sendall(b"flush_all\r\n")
            said = connection.recv(64).decode(errors="replace").strip()
    except OSError as error:
        said = str(error)
    if said != "OK":
        sys.exit(f"memcached at {MEMCACHED[0]}:{MEMCACHED[1]} could not be emptied: {said}")


def wait(url: str, timeout_s: float) -> str:
    """Ask until Keystone answers; returns why it does not, or nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with opener.open(url, timeout=10):
                return ""
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
        except OSError as error:
            reason = str(getattr(error, "reason", error))
        if time.monotonic() > deadline:
            return reason
        time.sleep(0.1)


if __name__ == "__main__":
    main()
