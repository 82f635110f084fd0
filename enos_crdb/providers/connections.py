"""ssh connections that Ansible keeps open for the next playbook: where their sockets are, and how they end."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from enos_crdb.command import Runner


def socket_directory(deployment: Path) -> Path:
    """Where the sockets of a deployment go: short, as the path of a socket has at most 107 characters."""
    digest = hashlib.sha256(str(deployment).encode()).hexdigest()[:8]
    return Path.home() / ".ssh" / f"enos_crdb-{digest}"


def close(runner: Runner, sockets: Path) -> None:
    """End every connection of the directory: it would be used for the next host with the address."""
    for socket in sockets.glob("*"):
        runner.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "local"], check=False, timeout_s=10)
        socket.unlink(missing_ok=True)
    shutil.rmtree(sockets, ignore_errors=True)  # there is none when no connection was made
