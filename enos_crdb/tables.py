"""Tables on a terminal of any width: words are whole, and what has no room is named instead of cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 2
"""Blanks between two columns: a border that is not drawn, and a blank of padding."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """``whole``: its cells are not wrapped.

    ``optional``: where there is no room, columns with higher numbers are left out first; None: never.
    """

    heading: str
    number: bool = False
    whole: bool = False
    optional: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A table that fits where it is printed. Cells are plain text, wrapped at blanks and after hyphens only.

    ``styles``: of each row, in rich's words. Numbers are never wrapped.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    styles: Sequence[str] = ()
    caption: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        least = {index: self._least(index) for index in range(len(self.columns))}
        kept = self._kept(least, options.max_width)
        widths = self._widths(kept, least, options.max_width)
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for index in kept:
            column = self.columns[index]
            heading = Text("\n".join(_lines(column.heading, widths[index])))
            justify: JustifyMethod = "right" if column.number else "left"
            table.add_column(heading, justify=justify, no_wrap=True, min_width=widths[index])
        for number, row in enumerate(self.rows):
            cells = [Text("\n".join(_lines(row[index], widths[index]))) for index in kept]
            table.add_row(*cells, style=self.styles[number] if self.styles else "")
        if self.title:
            yield Text(self.title)
        yield table
        left_out = [column.heading for index, column in enumerate(self.columns) if index not in kept]
        if left_out:
            yield Text(f"no room for: {', '.join(left_out)} (the terminal is {options.max_width} columns wide)")
        if self.caption:
            yield Text(self.caption)

    def _cells(self, index: int) -> Iterator[str]:
        yield self.columns[index].heading
        yield from (row[index] for row in self.rows)

    def _least(self, index: int) -> int:
        """The width below which a word would be broken."""
        if self.columns[index].number or self.columns[index].whole:
            return max(map(len, self._cells(index)))
        return max(len(piece) for cell in self._cells(index) for piece in _lines(cell, 1))

    def _kept(self, least: dict[int, int], width: int) -> list[int]:
        kept = list(range(len(self.columns)))
        optional = [index for index in kept if self.columns[index].optional is not None]
        for index in sorted(optional, key=lambda index: self.columns[index].optional or 0, reverse=True):
            if _total(least, kept) <= width:
                break
            kept.remove(index)
        return kept

    def _widths(self, kept: Sequence[int], least: dict[int, int], width: int) -> dict[int, int]:
        """Of each column; the widest texts give way first, down to their longest words."""
        widths = {index: max(map(len, self._cells(index))) for index in kept}
        while _total(widths, kept) > width:
            shrinkable = [index for index in kept if widths[index] > least[index]]
            if not shrinkable:
                break
            widths[max(shrinkable, key=lambda index: widths[index])] -= 1
        return widths


def _total(widths: dict[int, int], kept: Sequence[int]) -> int:
    return sum(widths[index] for index in kept) + GAP * len(kept) - 1  # rich pads the last column, too


def _lines(text: str, width: int) -> list[str]:
    """Broken at blanks and after hyphens only: longer words make longer lines."""
    return textwrap.wrap(text, width, break_long_words=False) or [""]
