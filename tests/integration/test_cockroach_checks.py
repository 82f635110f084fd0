"""The checks of a real CockroachDB server, tried on the stand-in: they run, and what they find is called nothing known.

Only what the stand-in can answer is compared; that its answers are right says nothing of CockroachDB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles.standin.build import build
from tests.keystone import missing_postgresql

ROOT = Path(__file__).parents[2]
RUN = ("test_sql.py", "test_role.py", "test_cluster.py")
TOO_LONG = "keystone or killed or move_to or lost_connection"
PASSING = {
    *("23505", "23503", "42P01", "40001", "banner", "ddl-commits", "drop-unique-constraint", "read-committed-level"),
    *("session-settings", "not-throttled", "rows-reset", "notify-before-init", "health-before-init", "init-once"),
    *("certificates", "certificate-is-user", "node-status"),
}
"""Assumptions whose checks end well on the stand-in."""


@pytest.mark.deep
@pytest.mark.keystone
def test_the_checks_run_on_the_stand_in_and_it_is_not_believed(tmp_path: Path) -> None:
    if reason := missing_postgresql():
        pytest.skip(reason)
    executable, report = build(tmp_path / "cockroach"), tmp_path / "verdict.json"
    variables = {"ENOS_CRDB_COCKROACH": str(executable), "ENOS_CRDB_COCKROACH_REPORT": str(report)}
    files = [f"tests/cockroach/{name}" for name in RUN]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", f"not ({TOO_LONG})"],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 10, done.stdout[-6000:]
    assert "STAND-IN:" in done.stdout
    assert "confirmed" not in done.stdout
    rows = {row["id"]: row for row in json.loads(report.read_text())["assumptions"]}
    assert {row["verdict"] for row in rows.values()} == {"not tried"}
    failing = {name: rows[name]["seen"] for name in PASSING if not rows[name]["seen"].startswith("stand-in (passed")}
    assert not failing
