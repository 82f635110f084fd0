"""A page from its sections: HTML that needs nothing but itself, figures as SVG and PDF, tables as CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

import enos_crdb
from enos_crdb.report import drawing
from enos_crdb.report.parts import Figure, Hyperlink, Notes, Section, Table
from enos_crdb.store import write_bytes, write_text

if TYPE_CHECKING:
    from jinja2 import Environment

MODE = 0o644
"""A report holds no secret, and is made to be shown."""
KINDS: Mapping[str, tuple[str, ...]] = {"figures": (".svg", ".pdf"), "tables": (".csv",)}
"""Directories beside a page, and the files that it writes in them."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """``facts``: name -> value, below the title. ``raw``: links to the data, by run."""

    title: str
    question: str
    authors: tuple[Mapping[str, Any], ...]
    facts: Mapping[str, str]
    sections: tuple[Section, ...]
    raw: tuple[tuple[str, tuple[Hyperlink, ...]], ...]
    synthetic: bool = False


def write(page: Page, place: Path) -> Path:
    """Write ``report.html``, ``figures/`` and ``tables/`` into `place`; returns the page's path.

    What an earlier report left in those two directories and this one has not is removed.
    """
    sections = [section for section in page.sections if section.parts]
    written: set[Path] = set()
    with drawing.styled():
        pictures = dict(_figures(sections, place, written))
    for table in (table for section in sections for table in section.tables):
        path = _beside(place, "tables", f"{table.name}.csv", written)
        write_text(path, table.csv(), mode=MODE)
    _remove_stale(place, written)
    path = place / "report.html"
    write_text(path, html(page, sections, pictures), mode=MODE)
    return path


def _figures(sections: Sequence[Section], place: Path, written: set[Path]) -> Iterator[tuple[str, Markup]]:
    """Draw every figure once, write it twice; yields its name and the element for the page."""
    for figure in (figure for section in sections for figure in section.figures):
        picture = figure.draw()
        vector = drawing.svg(picture)
        write_bytes(_beside(place, "figures", f"{figure.name}.svg", written), vector, mode=MODE, durable=False)
        document = drawing.pdf(picture)
        write_bytes(_beside(place, "figures", f"{figure.name}.pdf", written), document, mode=MODE, durable=False)
        # Matplotlib escapes the words in its SVG; the text for the reader's ear is escaped here.
        yield figure.name, Markup(drawing.inline(vector, figure.name, str(escape(figure.alternative))))


def _beside(place: Path, kind: str, name: str, written: set[Path]) -> Path:
    path = place / kind / name
    if path in written:
        raise ValueError(f"two parts of a report are called {name}")
    path.parent.mkdir(exist_ok=True)
    written.add(path)
    return path


def _remove_stale(place: Path, written: set[Path]) -> None:
    for kind, endings in KINDS.items():
        for path in sorted((place / kind).glob("*")):
            if path not in written and path.suffix in endings and path.is_file():
                path.unlink()


def html(page: Page, sections: Sequence[Section], pictures: Mapping[str, Markup]) -> str:
    """The page itself. Everything that was read from the store is escaped."""
    style = Markup(_environment().get_template("page.css").render())
    return _environment().get_template("page.html.j2").render(
        page=page, sections=sections, pictures=pictures, style=style, version=enos_crdb.__version__
    )  # fmt: skip


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("enos_crdb.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.tests["table"] = lambda part: isinstance(part, Table)
    made.tests["figure"] = lambda part: isinstance(part, Figure)
    made.tests["notes"] = lambda part: isinstance(part, Notes)
    made.filters["linked"] = linked
    made.filters["broken"] = broken
    made.filters["breakable"] = breakable
    return made


def broken(text: str) -> Markup:
    """A cell, escaped; an interval stands below its value, so that the column is narrow."""
    value, bracket, rest = text.partition(" [")
    if not bracket or not rest.rstrip("\N{NARROW NO-BREAK SPACE}\N{DAGGER}").endswith("]"):
        return escape(text)
    return Markup('{0} <span class="interval">[{1}</span>').format(value, rest)


def breakable(text: str) -> Markup:
    """A heading, escaped, that may be broken where words are joined (``tup_fetched``, ``sql.txn.commit.count``)."""
    return Markup("").join(
        escape(part) + Markup("<wbr>") * (part in "_.") for part in re.split(r"([_.])", text) if part
    )


def linked(text: str) -> Markup:
    """`text` escaped, its https addresses made links."""
    words = []
    for word in text.split(" "):
        address = word.rstrip(".,;:")
        if address.startswith("https://"):
            link = Markup('<a href="{0}">{0}</a>').format(address)
            words.append(link + word[len(address) :])
        else:
            words.append(escape(word))
    return Markup(" ").join(words)
