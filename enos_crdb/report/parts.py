"""What a page is made of: sections of text, tables (CSV files, too) and figures (SVG and PDF files, too)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

NOTHING = "\N{EN DASH}"
Row = Mapping[str, Any]
"""Column key -> value; what is missing, None or NaN is shown as a dash and is empty in the CSV."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the page, one or more of the CSV (a value with its interval is three)."""

    title: str
    keys: tuple[str, ...]
    show: Callable[..., str]
    number: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """``name`` is that of its CSV file, unique on the page. ``caption`` says what is shown, in which units.

    ``pairs``: two columns, a name and a value, which need no head and flow into several columns.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    pairs: bool = False

    def cells(self) -> list[list[str]]:
        """The rows as a reader sees them."""
        return [[_shown(column, row) for column in self.columns] for row in self.rows]

    def csv(self) -> str:
        """The rows as numbers: nine significant digits, a header, one line per row."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        keys = [key for column in self.columns for key in column.keys]
        writer.writerow(keys)
        writer.writerows([plain(row.get(key)) for key in keys] for row in self.rows)
        return text.getvalue()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """``draw`` is called when the page is written. ``alternative`` tells the same to who cannot see it."""

    name: str
    caption: str
    alternative: str
    draw: Callable[[], Drawing]
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Hyperlink:
    """Something beside the page, as a path relative to it."""

    text: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Notes:
    """Sentences of one kind: ``warning``, ``refused``, ``note``."""

    kind: str
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with an anchor. One without parts is left out."""

    anchor: str
    title: str
    lead: tuple[str, ...] = ()
    parts: tuple[Table | Figure | Notes, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(part for part in self.parts if isinstance(part, Table))

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(part for part in self.parts if isinstance(part, Figure))


def empty(value: Any) -> bool:
    """Whether there is nothing to show: None, NaN or an empty text."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _shown(column: Column, row: Row) -> str:
    values = [row.get(key) for key in column.keys]
    return NOTHING if empty(values[0]) else column.show(*values)


def plain(value: Any) -> str:
    """A value for a CSV file."""
    if empty(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """Three significant digits, never an exponent: 0.123, 1.23, 12.3, 123, 1234."""
    if not math.isfinite(value):
        return NOTHING if math.isnan(value) else "\N{INFINITY}" if value > 0 else "-\N{INFINITY}"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"


def interval(value: float, low: float | None = None, high: float | None = None, sparse: bool | None = None) -> str:
    """A number, and the interval it lies in, when there is one; a dagger where that is not to be trusted."""
    mark = "\N{NARROW NO-BREAK SPACE}\N{DAGGER}" if sparse else ""
    if low is None or high is None or empty(low) or empty(high):
        return number(value) + mark
    return f"{number(value)} [{number(low)}, {number(high)}]{mark}"


def percent(value: float) -> str:
    """A share, given in percent."""
    return f"{number(value)} %"


def text(title: str, key: str) -> Column:
    """A column of words."""
    return Column(title=title, keys=(key,), show=str, number=False)


def count(title: str, key: str) -> Column:
    """A column of whole numbers."""
    return Column(title=title, keys=(key,), show=lambda value: f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"))


def measure(title: str, key: str, show: Callable[..., str] = number) -> Column:
    """A column of numbers; the unit stands in `title` and in `key`."""
    return Column(title=title, keys=(key,), show=show)


def estimated(title: str, key: str) -> Column:
    """A column of numbers with intervals: `key`, `key`_low, `key`_high, `key`_sparse."""
    return Column(title=title, keys=(key, f"{key}_low", f"{key}_high", f"{key}_sparse"), show=interval)


def ranged(title: str, key: str) -> Column:
    """As `estimated`, of what cannot be sparse."""
    return Column(title=title, keys=(key, f"{key}_low", f"{key}_high"), show=interval)


def unique(names: Sequence[str]) -> bool:
    """Whether no name is used twice."""
    return len(set(names)) == len(names)
