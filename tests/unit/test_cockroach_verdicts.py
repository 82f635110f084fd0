"""Verdicts on a real CockroachDB server: what confirms, what refutes, and that a stand-in never does either."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cockroach import verdicts
from tests.cockroach.assumptions import ASSUMPTIONS, BY_ID, Assumption
from tests.cockroach.server import describe
from tests.cockroach.verdicts import Executable, Outcome, Verdict

ROOT = Path(__file__).parents[2]
REAL = Executable(path="/opt/cockroach", build_tag="v25.4.11", distribution="CCL")
STAND_IN = Executable(path="/tmp/cockroach", build_tag="v25.4.11", distribution="STAND-IN (PostgreSQL)")
DECIDED = {
    name
    for file in (ROOT / "tests" / "cockroach").glob("test_*.py")
    for name in re.findall(r'decides\("([^"]+)"\)', file.read_text())
}


def outcome(kind: str, assumption: str = "banner") -> Outcome:
    return Outcome(assumption=assumption, test="test_sql.py::test_it", kind=kind, seen=f"it {kind}")


EVERYTHING_PASSED = [outcome("passed", assumption.id) for assumption in ASSUMPTIONS]


def judged(*kinds: str, executable: Executable = REAL) -> tuple[verdicts.Finding, ...]:
    return verdicts.judge([outcome(kind) for kind in kinds], executable)


def verdict(*kinds: str, executable: Executable = REAL) -> Verdict:
    return next(found.verdict for found in judged(*kinds, executable=executable) if found.assumption == "banner")


@pytest.mark.parametrize(
    ("printed", "genuine"),
    [
        ("Build Tag:        v25.4.11\nDistribution:     CCL\n", True),
        ("Build Tag:        v25.4.11\nDistribution:     STAND-IN (PostgreSQL)\n", False),
        ("no such command", False),
    ],
)
def test_what_an_executable_says_of_itself_decides_whether_it_is_genuine(
    tmp_path: Path, printed: str, genuine: bool
) -> None:
    program = tmp_path / "cockroach"
    program.write_text(f"#!/bin/sh\ncat <<'EOF'\n{printed}\nEOF\n")
    program.chmod(0o755)
    assert describe(str(program)).genuine is genuine
    assert not describe(str(tmp_path / "missing")).genuine


@pytest.mark.parametrize("assumption", ASSUMPTIONS, ids=lambda assumption: assumption.id)
def test_an_assumption_is_decided_by_a_test_and_relied_on_somewhere(assumption: Assumption) -> None:
    assert assumption.id in DECIDED
    assert [path for path in assumption.relied_on if not (ROOT / path).exists()] == []
    assert len(assumption.sentence) < 130


def test_ids_are_unique_and_no_test_decides_an_unknown_one() -> None:
    assert len(BY_ID) == len(ASSUMPTIONS)
    assert set(BY_ID) >= DECIDED


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
    assert verdicts.exit_status(verdicts.judge(EVERYTHING_PASSED, REAL)) == 0
    assert verdicts.exit_status(judged("failed")) == 1
    assert verdicts.exit_status(judged("passed")) == 10
    assert verdicts.exit_status(verdicts.judge(EVERYTHING_PASSED, STAND_IN)) == 10


def test_a_stand_ins_table_says_so_and_never_that_something_is_known() -> None:
    findings = verdicts.judge(EVERYTHING_PASSED, STAND_IN)
    text = verdicts.render(findings, STAND_IN)
    assert "STAND-IN: /tmp/cockroach is not CockroachDB" in text
    assert "confirmed" not in text
    report = verdicts.as_json(findings, STAND_IN)
    assert report["executable"]["genuine"] is False
    assert {row["verdict"] for row in report["assumptions"]} == {"not tried"}
    assert all(row["seen"].startswith("stand-in") for row in report["assumptions"])
