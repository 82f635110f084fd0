"""The commands ``report`` and ``compare``: numbers on the terminal, and a page. They read the store only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from enos_crdb.cli import show
from enos_crdb.cli.session import Session
from enos_crdb.errors import StateError
from enos_crdb.store import CAMPAIGNS

if TYPE_CHECKING:
    from enos_crdb.report.comparison import Comparison
    from enos_crdb.report.material import Material
    from enos_crdb.report.numbers import Numbers

REPORTS = "reports"
"""Directory of pages about several runs, below the results."""
MARKS = ("manifest.json", "campaign.json", "deployment.json", "runs", CAMPAIGNS, "current")
"""What a directory has that can be reported."""

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
    _tell(session.console, [f"{one.directory.name}: {one.why}" for one in material.left])
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
    """What `name` means. Raises `StateError` when it means nothing, or several things."""
    results = session.results.resolve()
    for path in (Path(name), results / name, results / CAMPAIGNS / name):
        if path.is_dir() and (path.resolve().parent.name == "runs" or any((path / mark).exists() for mark in MARKS)):
            return path.resolve()
    found = sorted(_beginning(session, results, name))
    if len(found) == 1:
        return found[0]
    if not found:
        raise StateError(
            f"nothing stored in {session.results} is called '{name}': no run, deployment or campaign.\n"
            "`enos_crdb info` lists the runs of the current deployment; the path of a directory works as well."
        )
    there = ", ".join(path.name for path in found)
    raise StateError(f"'{name}' is the beginning of several names: {there}.\nWrite more of it.")


def _beginning(session: Session, results: Path, name: str) -> Iterator[Path]:
    """Runs and campaigns whose names begin with `name`; the current deployment's runs come before all others."""
    current = session.directory.resolve() if session.directory else (results / "current").resolve()
    mine = [path for path in (current / "runs").glob("*") if path.name.startswith(name) and path.is_dir()]
    if mine:
        yield from mine
        return
    yield from (path for path in (results / CAMPAIGNS).glob("*") if path.name.startswith(name) and path.is_dir())
    for deployment in results.glob("*/runs"):
        if not deployment.parent.is_symlink():
            yield from (path for path in deployment.iterdir() if path.name.startswith(name) and path.is_dir())


def _results(console: Console, found: Sequence[Numbers], verdicts: Callable[[Numbers], str]) -> None:
    """A table per scenario with a line per combination, and below it what those say against the first."""
    for scenario in dict.fromkeys(one.scenario for one in found):
        mine = [one for one in found if one.scenario == scenario]
        shown = Table(
            title=escape(scenario), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
        )
        shown.add_column("combination", overflow="fold")
        for heading in ("runs", "n", "failed", "p50 (ms)", "p95 (ms)", "ok/s"):
            shown.add_column(heading, justify="right", no_wrap=True)
        for one in mine:
            shown.add_row(*_cells(one))
        console.print(shown)
        for one in mine:
            if said := verdicts(one):
                console.print(f"  [bold]{escape(one.combination.label)}[/bold]: {escape(said)}", soft_wrap=True)


def _table(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _cells(one: Numbers) -> tuple[Any, ...]:
    from enos_crdb.report import parts

    return (
        escape(one.combination.label),
        str(one.runs),
        str(one.n),
        str(one.failures),
        escape(parts.interval(*one.ms("p50"))),
        parts.number(one.ms("p95")[0]),
        parts.number(one.throughput),
    )


def _differing(console: Console, found: Comparison) -> None:
    """What differs between the combinations, before any number."""
    if not found.differing:
        console.print("All settings are equal: these runs repeat one another.")
        return
    shown = _table("what differs")
    shown.add_column("setting")
    for one in found.material.combinations:
        shown.add_column(escape(one.label), overflow="fold")
    for name, values in found.differing.items():
        shown.add_row(name, *map(escape, values))
    console.print(shown)
