"""A fake DevStack: a git repository whose stack.sh installs nothing. No time measured with it means anything.

It records the local.conf of each run, writes log and milestones where DevStack does, starts a web server in place of
Keystone that gives tokens and accepts those of its like, and obeys variables of local.conf:

FAKE_FAIL   ends with an error in the way of DevStack, its dump of the system included
FAKE_SLEEP  sleeps that many seconds
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parent / "repository"
BRANCHES = ("stable/2026.1", "master")


def make(base: Path) -> str:
    """Make ``openstack/devstack`` below `base`, with the branches that tests ask for; returns its commit."""
    target = base / "openstack" / "devstack"
    shutil.copytree(REPOSITORY, target)
    git = ["git", "-C", str(target), "-c", "user.name=fake", "-c", "user.email=fake@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=A fake DevStack"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    for branch in BRANCHES:
        subprocess.run([*git, "branch", "--force", branch], check=False, capture_output=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def served(base: Path) -> Iterator[int]:
    """Serve the repositories below `base` with git's own server, on every address; the port is given."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen(
        ["git", "daemon", "--export-all", f"--base-path={base}", f"--port={port}", "--reuseaddr", str(base)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "git daemon ended at once"
            assert time.monotonic() < deadline, "git daemon does not listen"
            time.sleep(0.05)
        else:
            return
