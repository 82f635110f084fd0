"""haproxy_state.py SECONDS: wait until every server passes its check; print those that do not, as JSON.

Fed to the host's own Python on stdin by the Ansible role.
"""

from __future__ import annotations

import csv
import json
import socket
import sys
import time

SOCKET = "/run/haproxy/admin.sock"


def ask(command: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(SOCKET)
        connection.sendall(command.encode() + b"\n")
        answer = b""
        while block := connection.recv(65536):
            answer += block
    return answer.decode()


def down(stat: str) -> dict[str, str]:
    """Server -> state, of those that are not up, from what ``show stat`` prints."""
    rows = csv.DictReader(stat.lstrip("# ").splitlines())
    servers = [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]
    return {
        row["svname"]: f"{row['status']} {row['last_chk']}" for row in servers if not row["status"].startswith("UP")
    }


def main(seconds: float) -> dict[str, str]:
    end = time.monotonic() + seconds
    while True:
        try:
            bad = down(ask("show stat"))
        except OSError as error:
            bad = {"haproxy": f"does not answer ({error.strerror or error})"}
        if not bad or time.monotonic() > end:
            return bad
        time.sleep(0.5)


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]))))
