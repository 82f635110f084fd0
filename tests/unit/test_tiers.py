"""Which tests run when, and the table of what a change touches, which must stay true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pieces import Outcome, Record, deep_tests, read_report, seconds
from tests.tiers import (
    ALONE,
    COSTS,
    ROOT,
    SPLIT,
    TOUCHES,
    claimed_by,
    cost_s,
    file_of,
    files_of_tests,
    in_turn,
    next_that_fits,
    pieces_of,
    touched,
)

PRODUCTS = (
    *(ROOT / "enos_crdb").rglob("*.py"),
    *(ROOT / "playbooks").glob("*.yml"),
    *(ROOT / "playbooks" / "roles").iterdir(),
    *(ROOT / "configs").iterdir(),
    *(ROOT / "experiments").glob("*.*"),
    *(ROOT / "keystone_crdb" / "src").rglob("*.py"),
    *(path for path in (ROOT / "devstack_plugin").rglob("*") if path.is_file()),
    *(path for path in (ROOT / "tests" / "doubles").iterdir() if path.is_dir()),
)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_module_role_and_double_is_claimed_by_a_test() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in PRODUCTS if "__pycache__" not in path.parts}
    assert len(names) > 150
    assert [name for name in sorted(names) if not claimed_by(name)] == []


def test_the_table_names_what_is_there() -> None:
    there = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if ".venv" not in path.parts]
    for start, names in TOUCHES.items():
        assert any(path.startswith(start) for path in there), start
        assert set(names.split()) <= files_of_tests().keys(), start


def test_files_with_deep_tests_are_those_of_the_table_and_each_is_claimed() -> None:
    marked = {name for names in files_of_tests().values() for name in names if "pytest.mark.deep" in text(name)}
    marked -= {"tests/unit/test_tiers.py"}
    assert {file_of(piece) for piece in COSTS} | SPLIT == marked
    assert {name for name in marked if "pytest.mark.alone" in text(name)} == ALONE
    claimed = {file for start in TOUCHES for file in claimed_by(start)}
    assert marked <= claimed, "what no change asks for runs only in turn"
    assert max(COSTS.values()) < 900, "a piece that fits in no run of CI is never run there"


def test_a_change_asks_for_what_claims_it() -> None:
    assert touched(["docs/index.md"]) == frozenset()
    assert "tests/integration/test_suites.py" in touched(["playbooks/roles/virtualenv/tasks/main.yml"])
    assert touched(["tests/integration/test_load.py"]) == {"tests/integration/test_load.py"}
    assert claimed_by("configs/g5k-devstack.yaml") >= set(files_of_tests()["grid5000"])
    assert claimed_by("enos_crdb/configuration.schema.json") == set(files_of_tests()["reference"])


def test_in_turn_everything_comes_first_once() -> None:
    files = ["c", "a", "b"]
    assert [in_turn(files, turn)[0] for turn in range(6)] == ["a", "b", "c", "a", "b", "c"]
    assert in_turn(files, 1) == ["b", "c", "a"]
    assert in_turn([], 5) == []


def test_what_does_not_fit_lets_a_shorter_one_go_first() -> None:
    long, short = sorted(COSTS, key=lambda piece: -COSTS[piece])[:: len(COSTS) - 1]
    assert next_that_fits([long, short], COSTS[long]) == long
    assert next_that_fits([long, short], COSTS[long] - 1) == short
    assert next_that_fits([long, short], COSTS[short] - 1) is None
    assert cost_s("tests/integration/test_new.py") > 0


def test_pieces_are_files_or_the_parameters_of_long_ones() -> None:
    wire, load = "tests/integration/test_wire_double.py", "tests/integration/test_load.py"
    tests = [f"{wire}::test_a[23.2.30]", f"{load}::test_c[x]", f"{wire}::test_b[23.2.30]", f"{wire}::test_d"]
    pieces = pieces_of(tests)
    assert pieces == {f"{wire} [23.2.30]": [tests[0], tests[2]], load: [tests[1]], f"{wire} [test_d]": [tests[3]]}
    assert {file_of(piece) for piece in pieces} == {wire, load}


@pytest.mark.parametrize(("written", "told"), [("40m", 2400), ("1h30m", 5400), ("90s", 90), ("", float("inf"))])
def test_a_budget(written: str, told: float) -> None:
    assert seconds(written) == told


def test_a_budget_that_is_none() -> None:
    with pytest.raises(SystemExit, match="is no duration: 40m"):
        seconds("forty")


REPORT = """\
<testsuites><testsuite tests="4" time="9">
<testcase classname="tests.unit.test_a" name="one" time="1.5"/>
<testcase classname="tests.unit.test_a" name="two" time="0.5"><failure message="no"/></testcase>
<testcase classname="tests.integration.test_b.TestC" name="x" time="2"><skipped message="no netem"/></testcase>
<testcase classname="tests.integration.test_b" name="y@postgresql" time="3">
<properties><property name="path taken" value="emulation by nfqueue"/></properties></testcase>
</testsuite></testsuites>
"""


def test_a_report_is_read(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(REPORT)
    outcome = read_report(path)
    assert (outcome.passed, outcome.failed, outcome.skipped) == (2, 1, {"no netem": 1})
    assert outcome.notes == ("emulation by nfqueue",)
    assert outcome.files == {"tests/unit/test_a.py": 2.0, "tests/integration/test_b.py": 5.0}
    assert outcome.counts == "1 failed, 2 passed, 1 skipped"
    assert (outcome + outcome).counts == "2 failed, 4 passed, 2 skipped"
    assert read_report(tmp_path / "missing.xml").failed == 1, "a pytest that was ended passed nothing"


def test_nothing_begins_that_does_not_fit_and_what_is_done_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def piece(tests: Sequence[str]) -> Outcome:
        ran.extend(tests)
        return Outcome(passed=1)

    monkeypatch.setattr("tests.pieces._deep_piece", piece)
    monkeypatch.setattr(Record, "save", lambda self: None)
    longest, shortest = sorted(COSTS, key=lambda name: -COSTS[name])[:: len(COSTS) - 1]
    tests = {longest: ["long"], shortest: ["short"]}
    record = Record("code")
    total, left = deep_tests([*tests], tests=tests, record=record, left_s=lambda: COSTS[shortest])
    assert (ran, left, total.passed) == (["short"], [longest], 1)
    total, left = deep_tests([*tests], tests=tests, record=record, left_s=lambda: 1e9)
    assert (ran, left, total.passed) == (["short", "long"], [], 1)


def test_what_was_done_is_known_after_a_cut_as_long_as_the_code_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.pieces.STATE", tmp_path / "cache" / "state.json")
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    outcome = read_report(report) + read_report(report)
    Record.of_now(resume=True).add("a piece", outcome)
    assert Record.of_now(resume=True).done["a piece"].counts == outcome.counts
    assert Record.of_now(resume=True).done["a piece"].skipped == {"no netem": 2}
    assert Record.of_now(resume=False).done == {}
    monkeypatch.setattr("tests.pieces._digest_of_the_code", lambda: "other")
    assert Record.of_now(resume=True).done == {}
    assert "The code has changed" in capsys.readouterr().out
