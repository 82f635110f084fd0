"""Counters of several processes and threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

KEYS = [
    "calls",
    "gave_up",
    "replays",
    "reconnects",
    "statements",
    "begins",
    "commits",
    "rollbacks",
    "pings",
    "round_trips",
]

# As uWSGI does: load in the master, fork, and several threads in every worker.
WORKERS = """
import os, threading
from keystone_crdb import counters
counters.add("a.b", "calls")
def count():
    for _ in range(500):
        counters.add("a.b", "statements")
        counters.add("-", "pings", 2)
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        threads = [threading.Thread(target=count) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        os._exit(0)
    children.append(child)
[os.waitpid(child, 0) for child in children]
"""


def run(*arguments: str, directory: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    if directory is not None:
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def printed(directory: Path) -> dict[str, Any]:
    done = run("-m", "keystone_crdb", "counters", "--directory", str(directory), directory=None)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_workers_that_are_dead_are_counted(tmp_path: Path) -> None:
    for repetition in (1, 2):
        assert run("-c", WORKERS, directory=tmp_path).returncode == 0
        report = printed(tmp_path)
        assert report["operations"]["a.b"]["calls"] == repetition
        assert report["operations"]["a.b"]["statements"] == 6000 * repetition
        assert report["operations"]["-"]["pings"] == 12000 * repetition
        assert report["total"]["round_trips"] == 18000 * repetition


def test_every_operation_has_every_key_as_an_integer(tmp_path: Path) -> None:
    run("-c", WORKERS, directory=tmp_path)
    report = printed(tmp_path)
    for events in [*report["operations"].values(), report["total"]]:
        assert list(events) == KEYS
        assert {type(value) for value in events.values()} == {int}


def test_nothing_was_counted_yet(tmp_path: Path) -> None:
    assert printed(tmp_path) == {"operations": {}, "total": dict.fromkeys(KEYS, 0)}


def test_reading_does_not_count(tmp_path: Path) -> None:
    done = run("-m", "keystone_crdb", "counters", directory=tmp_path)
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    done = run("-m", "keystone_crdb", "counters", "--directory", str(tmp_path / "x"), directory=None)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not a directory" in done.stderr
    assert "while Keystone runs" in done.stderr


def test_no_directory_at_all() -> None:
    done = run("-m", "keystone_crdb", "counters", directory=None)
    assert done.returncode == 1
    assert "--directory" in done.stderr
