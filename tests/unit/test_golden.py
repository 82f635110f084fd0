"""The tables of reports about runs that are stored are what they were."""

from __future__ import annotations

import csv
import io

import pytest

import enos_crdb
from tests.golden import TABLES, tables


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return dict(tables(tmp_path_factory.mktemp("golden")))


def test_the_same_tables_are_made(made: dict[str, str]) -> None:
    assert sorted(made) == sorted(path.relative_to(TABLES).as_posix() for path in TABLES.rglob("*.csv"))


@pytest.mark.parametrize("name", sorted(path.relative_to(TABLES).as_posix() for path in TABLES.rglob("*.csv")))
def test_every_cell_is_what_it_was(made: dict[str, str], name: str) -> None:
    expected, found = rows((TABLES / name).read_text(encoding="utf-8")), rows(made[name])
    assert found[0] == expected[0]
    assert len(found) == len(expected)
    for before, after in zip(expected[1:], found[1:], strict=True):
        assert [cell(text) for text in after] == [pytest.approx(cell(text), rel=1e-6) for text in before]


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def cell(text: str) -> float | str:
    """Numbers as such: another numpy may round the last digit otherwise. What wrote them is no number of theirs."""
    try:
        return float(text)
    except ValueError:
        return text.replace(enos_crdb.__version__, "0.1.0")
