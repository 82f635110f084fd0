"""The commands ``report`` and ``compare``: numbers on the terminal, and a page. They read the store only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape

from enos_crdb.cli import show
from enos_crdb.cli.session import Session
from enos_crdb.errors import StateError
from enos_crdb.tables import Column, Fitted

if TYPE_CHECKING:
    from enos_crdb.report.comparison import Comparison
    from enos_crdb.report.material import Material
    from enos_crdb.report.numbers import Numbers

REPORTS = "reports"
"""Directory of pages about several runs, below the results."""
output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the page; by default that of the run or campaign, or one in reports/ of the results.",
)


@click.command()
@click.argument("names", nargs=-1, metavar="[RUN|DEPLOYMENT|CAMPAIGN|DIRECTORY]...")
@output_option
@click.pass_obj
def report(session: Session, names: tuple[str, ...], output: Path | None) -> None:
    """Show the numbers of a run, and write a page about it.

    By default this is the last run. The page is report.html, with its figures (SVG, PDF) and tables (CSV). Several
    runs, a deployment, a campaign, or the whole results directory make one page. The beginning of the name of a run or
    campaign is enough.
    """
    from enos_crdb import report as pages
    from enos_crdb.report.numbers import numbers

    sources = [_source(session, name) for name in names] or [session.deployment().last_run()]
    single = len(sources) == 1 and sources[0].parent.name == "runs"
    if single:
        show.run(session.console, sources[0])
        page_of(session, sources[0], output)
        return
    material = pages.collect(sources)
    _results(session.console, numbers(material), lambda _: "")
    _tell(session.console, [f"{one.directory.name}: {one.reason}" for one in material.left])
    _write(session, material, output or _place(session, sources))


def page_of(session: Session, run: Path, place: Path | None = None) -> None:
    """Write the page about one run, in its directory unless told otherwise; without numbers there is none."""
    from enos_crdb import report as pages

    try:
        material = pages.collect([run])
    except StateError as error:
        _tell(session.console, [f"no page: {error}"])
        return
    _write(session, material, place or run)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--html", "page", is_flag=True, help="Also write a page about the runs.")
@click.option("--anyway", is_flag=True, help="Compare runs that are otherwise refused, with a warning.")
@output_option
@click.pass_obj
def compare(session: Session, names: tuple[str, ...], page: bool, anyway: bool, output: Path | None) -> None:
    """Compare runs with the first one, with a verdict in words.

    Runs with the same settings are repetitions of one another. Runs with a different Rally version, number of hash
    rounds, or machine are refused.
    """
    from enos_crdb import report as pages
    from enos_crdb.report.comparison import compare as compared

    sources = [_source(session, name) for name in names]
    found = compared(pages.collect(sources), anyway=anyway)
    _differing(session.console, found)
    _results(session.console, found.numbers, found.verdict)
    _tell(session.console, found.warnings)
    if page or output:
        _write(session, found.material, output or _place(session, sources))


def _tell(console: Console, warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)


def _write(session: Session, material: Material, place: Path) -> None:
    from enos_crdb import report as pages

    page = pages.write(material, place)
    session.console.print(f"Report: {page}", soft_wrap=True)


def _place(session: Session, sources: Sequence[Path]) -> Path:
    """Where a page about `sources` stands: with the one it is about, else below ``reports``."""
    results = session.results.resolve()
    if len(sources) == 1:
        return sources[0] if sources[0].resolve() != results else results / REPORTS / "all"
    names = [source.name for source in sources]
    digest = hashlib.sha256("\n".join(map(str, sources)).encode()).hexdigest()[:8]
    return results / REPORTS / (f"{names[0]}-and-{len(names) - 1}-more-{digest}")


def _source(session: Session, name: str) -> Path:
    from enos_crdb import loading

    return loading.named(session.results.resolve(), name, current=session.directory)


_NUMBERS = {"runs": None, "n": None, "failed": None, "p50 (ms)": None, "p95 (ms)": 1, "ok/s": 2}
"""Columns of numbers, and which are left out first where there is no room."""


def _results(console: Console, found: Sequence[Numbers], verdicts: Callable[[Numbers], str]) -> None:
    """A table per scenario with a line per combination, and below it what those say against the first."""
    for scenario in dict.fromkeys(one.scenario for one in found):
        mine = [one for one in found if one.scenario == scenario]
        console.print(
            Fitted(
                title=scenario,
                columns=[
                    Column(heading="combination"),
                    *(Column(heading=heading, number=True, optional=place) for heading, place in _NUMBERS.items()),
                ],
                rows=[_cells(one) for one in mine],
            )
        )
        for one in mine:
            if said := verdicts(one):
                console.print(f"  [bold]{escape(one.combination.label)}[/bold]: {escape(said)}", soft_wrap=True)


def _cells(one: Numbers) -> tuple[str, ...]:
    from enos_crdb.report import parts

    return (
        one.combination.label,
        str(one.runs),
        str(one.n),
        str(one.failures),
        parts.interval(*one.ms("p50")),
        parts.number(one.ms("p95")[0]),
        parts.number(one.throughput.value),
    )


def _differing(console: Console, found: Comparison) -> None:
    """What differs between the combinations, before any number."""
    if not found.differing:
        console.print("All settings are equal: these runs repeat one another.")
        return
    columns = [Column(heading="setting"), *(Column(heading=one.label) for one in found.material.combinations)]
    rows = [(name, *values) for name, values in found.differing.items()]
    console.print(Fitted(title="what differs", columns=columns, rows=rows))
