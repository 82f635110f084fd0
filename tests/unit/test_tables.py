"""Tables on narrow and wide terminals: no word is broken, no number cut, and what is left out is named."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from enos_crdb.config.scenarios import SCENARIOS
from enos_crdb.tables import Column, Fitted

HEADINGS = ("n", "failed", "mean", "p50", "p95", "p99", "ok/s", "CPU", "SQL", "replays")
COLUMNS = (
    Column(heading="scenario"),
    *(Column(heading=heading, number=True, optional=place or None) for place, heading in enumerate(HEADINGS)),
)
NAMES = [name.removeprefix("keystone/") for name in SCENARIOS]
NUMBERS = ("4000", "12", "12345", "12346", "12347", "12348", "105.7", "100%", "2370", "121")
TABLE = Fitted(title="", columns=COLUMNS, rows=[(name, *NUMBERS) for name in NAMES])


def shown(table: Fitted, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 200])
def test_names_are_broken_at_hyphens_only_and_numbers_never(width: int) -> None:
    head, _, *body = shown(TABLE, width)
    assert max(map(len, (head, *body))) <= width
    note = " ".join(body).partition("no room for: ")[2].replace(",", " ").split()
    kept = [heading for heading in HEADINGS if heading in head.split()]
    assert {*kept, *note} >= {*HEADINGS}, "what is not shown is named"
    numbers = [number for heading, number in zip(HEADINGS, NUMBERS, strict=True) if heading in kept]
    starts = [index for index, line in enumerate(body) if line.split()[1:] == numbers]
    assert len(starts) == len(NAMES)
    for start, name in zip(starts, NAMES, strict=True):
        pieces = [line.split()[0] for line in body[start : start + 6]]
        assert any("".join(pieces[:count]) == name for count in range(1, 7)), pieces


def test_the_columns_that_matter_least_go_first() -> None:
    last = [shown(TABLE, width)[0].split()[-1] for width in (200, 80, 60)]
    assert last == sorted(last, key=HEADINGS.index, reverse=True)
    assert last[0] == "replays"
    assert last[-1] != "replays"


def test_texts_are_wrapped_between_words() -> None:
    columns = (Column(heading="host"), Column(heading="what it does"))
    rows = [("database-1", "a sentence that is long enough for two lines, [bold]as it is[/bold]")]
    lines = shown(Fitted(title="Hosts", columns=columns, rows=rows, caption="That is all."), 40)
    assert (lines[0], lines[-1]) == ("Hosts", "That is all.")
    assert "[bold]as" in " ".join(lines)
    assert any(line.startswith("database-1  a sentence that is long") for line in lines)
    assert max(map(len, lines)) <= 40
