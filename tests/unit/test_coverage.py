"""How often intervals hold the truth is what the documentation says it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import coverage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "statistics.md"
ROUNDING = 1.01
"""Percentage points: another NumPy may round a trial to the other side."""


def table(text: str, begin: str) -> list[list[str]]:
    """The cells of the Markdown table whose head begins so."""
    lines = text[text.index(begin) :].split("\n\n", maxsplit=1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def percent(cell: str) -> float | None:
    found = re.fullmatch(r"\**(\d+) %\**", cell)
    return float(found[1]) if found else None


def same(found: list[list[str]], said: list[list[str]]) -> None:
    assert [[cell for cell in row if percent(cell) is None] for row in found] == [
        [cell for cell in row if percent(cell) is None] for row in said
    ]
    for mine, theirs in zip(found, said, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert abs((percent(one) or 0) - (percent(other) or 0)) <= ROUNDING, mine[0]


@pytest.mark.deep
def test_intervals_hold_the_truth_as_often_as_the_page_says() -> None:
    page = PAGE.read_text()
    found = table(coverage.markdown(coverage.rows()), "| design")
    same(found, table(page, "| design"))
    same(table(coverage.second(coverage.shares()), "| | how often"), table(page, "| | how often"))
    covered = {row[0]: row[1:] for row in found[2:]}
    for name, (covers, mean, p50, p95, _) in covered.items():
        if not name.startswith("2 deployments of 5 runs") or covers.startswith("deployments"):
            assert min(percent(cell) or 0 for cell in (mean, p50, p95)) >= 90, name


def test_a_poor_figure_is_marked() -> None:
    assert coverage.cell(0.899) == "**90 %**"
    assert coverage.cell(0.9) == "90 %"
    text = coverage.markdown([("a design", "iterations", dict.fromkeys(coverage.STATISTICS, 0.5))])
    assert text.splitlines()[2] == "| a design | iterations | **50 %** | **50 %** | **50 %** | **50 %** |"


def test_the_check_can_fail() -> None:
    with pytest.raises(AssertionError):
        same([["a", "95 %"]], [["a", "93 %"]])
    with pytest.raises(AssertionError):
        same([["a", "95 %"]], [["b", "95 %"]])
