"""Verdicts on a real CockroachDB server: what confirms, what refutes, and that a stand-in never does either."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cockroach import server, verdicts
from tests.cockroach.assumptions import ASSUMPTIONS, BY_ID, Assumption
from tests.cockroach.verdicts import Executable, Outcome, Verdict

ROOT = Path(__file__).parents[2]
REAL = Executable(path="/opt/cockroach", build_tag="v25.4.11", distribution="CCL")
STAND_IN = Executable(path="/tmp/cockroach", build_tag="v25.4.11", distribution="STAND-IN (PostgreSQL)")
DECIDED = sorted(
    name
    for file in (ROOT / "tests" / "cockroach").glob("test_*.py")
    for name in re.findall(r'decides\("([^"]+)"\)', file.read_text())
)


def outcome(kind: str, assumption: str = "banner") -> Outcome:
    return Outcome(assumption=assumption, test="test_sql.py::test_it", kind=kind, seen=f"it {kind}")


def verdict(*kinds: str, executable: Executable = REAL) -> Verdict:
    findings = verdicts.judge([outcome(kind) for kind in kinds], executable)
    return next(finding.verdict for finding in findings if finding.assumption == "banner")


def all_of_them(kind: str, executable: Executable) -> tuple[verdicts.Finding, ...]:
    return verdicts.judge([outcome(kind, assumption.id) for assumption in ASSUMPTIONS], executable)


@pytest.mark.parametrize("assumption", ASSUMPTIONS, ids=lambda assumption: assumption.id)
def test_an_assumption_is_decided_by_a_test_and_relied_on_somewhere(assumption: Assumption) -> None:
    assert assumption.id in DECIDED
    assert [path for path in assumption.relied_on if not (ROOT / path).exists()] == []
    assert len(assumption.sentence) < 130


def test_ids_are_unique_and_no_test_decides_an_unknown_one() -> None:
    assert len(BY_ID) == len(ASSUMPTIONS)
    assert set(DECIDED) <= set(BY_ID)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["passed"], Verdict.CONFIRMED),
        (["passed", "failed"], Verdict.REFUTED),
        (["passed", "broken"], Verdict.NOT_TRIED),
        (["passed", "skipped"], Verdict.NOT_TRIED),
        (["elsewhere"], Verdict.NOT_APPLICABLE),
        (["failed", "broken"], Verdict.REFUTED),
        ([], Verdict.NOT_TRIED),
    ],
)
def test_the_worst_outcome_decides(kinds: list[str], expected: Verdict) -> None:
    assert verdict(*kinds) is expected


@pytest.mark.parametrize("kind", ["passed", "failed", "broken", "elsewhere"])
def test_a_stand_in_decides_nothing(kind: str) -> None:
    assert verdict(kind, executable=STAND_IN) is Verdict.NOT_TRIED
    assert verdict(kind, executable=Executable(path="x", build_tag="", distribution="")) is Verdict.NOT_TRIED


def test_the_exit_status_tells() -> None:
    assert verdicts.exit_status(all_of_them("passed", REAL)) == 0
    assert verdicts.exit_status(verdicts.judge([outcome("failed")], REAL)) == 1
    assert verdicts.exit_status(verdicts.judge([outcome("passed")], REAL)) == 10
    assert verdicts.exit_status(all_of_them("passed", STAND_IN)) == 10


def test_the_table_has_every_assumption_and_a_verdict() -> None:
    findings = verdicts.judge([outcome("passed"), outcome("failed", "40001")], REAL)
    text = verdicts.render(findings, REAL)
    assert all(assumption.id in text for assumption in ASSUMPTIONS)
    assert "it failed" in text
    assert f"1 confirmed, 1 refuted, {len(ASSUMPTIONS) - 2} not tried" in text
    assert "STAND-IN" not in text


def test_a_stand_ins_table_says_so_and_never_that_something_is_known() -> None:
    findings = all_of_them("passed", STAND_IN)
    text = verdicts.render(findings, STAND_IN)
    assert "STAND-IN: /tmp/cockroach is not CockroachDB" in text
    assert "confirmed" not in text
    report = verdicts.as_json(findings, STAND_IN)
    assert report["executable"]["genuine"] is False
    assert {row["verdict"] for row in report["assumptions"]} == {"not tried"}
    assert all(row["seen"].startswith("stand-in") for row in report["assumptions"])


def fake(path: Path, distribution: str) -> Path:
    path.write_text(f"#!/bin/sh\n[ $1 = version ] && printf 'Build Tag: v25.4.11\\nDistribution: {distribution}\\n'\n")
    path.chmod(0o755)
    return path


def test_an_executable_describes_itself(tmp_path: Path) -> None:
    assert server.describe(str(fake(tmp_path / "cockroach", "CCL"))).genuine
    assert not server.describe(str(fake(tmp_path / "cockroach", "STAND-IN"))).genuine
    assert not server.describe(str(tmp_path / "absent")).genuine


@pytest.mark.parametrize(
    ("distribution", "status", "verdict"), [("CCL", 10, "confirmed"), ("STAND-IN (not CockroachDB)", 10, "not tried")]
)
def test_a_run_ends_with_verdicts(tmp_path: Path, distribution: str, status: int, verdict: str) -> None:
    executable, report = fake(tmp_path / "cockroach", distribution), tmp_path / "verdict.json"
    variables = {"ENOS_CRDB_COCKROACH": str(executable), "ENOS_CRDB_COCKROACH_REPORT": str(report)}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/cockroach/test_sql.py",
            "-k",
            "version_command",
        ],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout
    rows = {row["id"]: row for row in json.loads(report.read_text())["assumptions"]}
    assert rows["version-command"]["verdict"] == verdict
    assert ("STAND-IN:" in done.stdout) == (verdict == "not tried")
    assert ("confirmed" in done.stdout) == (verdict == "confirmed")
