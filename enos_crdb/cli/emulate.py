"""The command `emulate`: show the network between the hosts, change it, or leave it as it is."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape

from enos_crdb import events
from enos_crdb.cli.session import Session
from enos_crdb.config.emulation import LONGEST_MS, SHORTEST_MS, Constraint
from enos_crdb.errors import ConfigurationError
from enos_crdb.phases.context import Context
from enos_crdb.record import NetworkRecord, RoundTrip
from enos_crdb.tables import Column, Fitted

WORDS = {
    "ok": "[green]as it should be[/green]",
    "off": "[red]off[/red]",
    "not measured": "[yellow]not measured[/yellow]",
}

COLUMNS = (
    Column(heading="network"),
    Column(heading="from"),
    Column(heading="to"),
    Column(heading="measured", number=True),
    Column(heading="from - to", number=True, optional=2),
    Column(heading="expected", number=True),
    Column(heading="answers", number=True, optional=1),
)


@click.command("emulate")
@click.option(
    "--rtt-ms",
    type=float,
    help="Replace the constraints: add this to the round trips between all database hosts, on the database network.",
)
@click.option("--clear", is_flag=True, help="Remove all constraints.")
@click.pass_obj
def emulate(session: Session, rtt_ms: float | None, clear: bool) -> None:
    """Measure the network between the hosts, or change it.

    Round trips are compared with the expected ones. Without options, missing constraints are installed again. A change
    by an option stays until the next `deploy`, `emulate --rtt-ms` or `emulate --clear`.
    """
    if clear and rtt_ms is not None:
        raise ConfigurationError("--clear and --rtt-ms exclude each other: one removes what the other sets.")
    between = None if rtt_ms is None else _between_database_hosts(rtt_ms)
    with session.opened() as context:
        context.require("hosts")
        found = _act(context, between, clear=clear)
    _show(session.console, found)
    from enos_crdb.phases.emulate import refuse

    refuse(found)


def _between_database_hosts(rtt_ms: float) -> Constraint:
    if not 2 * SHORTEST_MS <= rtt_ms <= 2 * LONGEST_MS:
        raise ConfigurationError(
            f"--rtt-ms {rtt_ms:g}: give a round trip from {2 * SHORTEST_MS:g} to {2 * LONGEST_MS:g} milliseconds; "
            "--clear removes the emulation."
        )
    return Constraint(between=["database", "database"], delay_ms=rtt_ms / 2, network="database")


def _act(context: Context, between: Constraint | None, *, clear: bool) -> NetworkRecord:
    from enos_crdb.phases import emulate as phase

    section = context.configuration.emulation
    if clear:
        with events.phase("emulate", "Removing the constraints"):
            phase.clear(context)
    elif between is not None:
        with events.phase("emulate", "Setting the network"):
            found = phase.set_network(context, section.model_copy(update={"constraints": [between]}))
            if found is not None:
                return found
    with events.phase("measure", "Measuring round trips"):
        return phase.before(context) if clear else phase.restore(context)


def _show(console: Console, found: NetworkRecord) -> None:
    """The matrix, with what is expected, and the verdict."""
    expected = {trip.pair: trip.rtt_ms for trip in found.expected}
    rows = []
    for trip in sorted(found.before.rtt, key=lambda trip: trip.network):
        wanted = expected.get(trip.pair)
        answers = f"{trip.samples}/{trip.samples + trip.lost}"
        rows.append((trip.network, trip.src, trip.dst, *_times(trip), "" if wanted is None else _ms(wanted), answers))
    console.print(Fitted(title="round trips (TCP connect time)", columns=COLUMNS, rows=rows))
    for constraint in found.constraints:
        console.print(f"constraint: {escape(constraint.describe())}", soft_wrap=True)
    console.print(f"emulator: {found.emulator}; the network is {WORDS[found.verdict]}")
    for sentence in found.deviations:
        console.print(f"  {escape(sentence)}", soft_wrap=True)


def _times(trip: RoundTrip) -> tuple[str, str]:
    if trip.median_ms is None:
        return "none", ""
    return _ms(trip.median_ms), f"{trip.min_ms:.2f} - {trip.max_ms:.2f}"


def _ms(value: float) -> str:
    return f"{value:.2f} ms"
