"""The command ``campaign``: a whole experiment, planned, executed, resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from enos_crdb.cli.display import showing
from enos_crdb.cli.session import Session
from enos_crdb.errors import CampaignError, ConfigurationError, Interrupted
from enos_crdb.tables import Column, Fitted

if TYPE_CHECKING:
    from enos_crdb.sweep import Plan

SHOWN = 60
"""Items of a plan that are printed; campaign.json has all of them."""


@click.command()
@click.argument("experiment")
@click.option("--resume", is_flag=True, help="Continue the unfinished campaign of this experiment.")
@click.option(
    "--retry", is_flag=True, help="Like --resume, also for a finished campaign, with new attempts at failed runs."
)
@click.option("--dry-run", is_flag=True, help="Show the plan, its duration and node-hours, and change nothing.")
@click.option("--short", is_flag=True, help="Run the small variant that the experiment defines.")
@click.option("--destroy", is_flag=True, help="Give back the hosts of the unfinished campaign.")
@click.option(
    "--set",
    "overrides",
    metavar="PATH=VALUE",
    multiple=True,
    help="Replace a value of the experiment, for example --set configuration.bench.times=20. Repeatable.",
)
@click.pass_obj
def campaign(  # noqa: PLR0917 - click's options
    session: Session,
    experiment: str,
    overrides: tuple[str, ...],
    resume: bool,
    retry: bool,
    dry_run: bool,
    short: bool,
    destroy: bool,
) -> None:
    """Run every combination of an experiment.

    EXPERIMENT is a .yaml or .py file, or the name of a shipped experiment.
    """
    from enos_crdb import campaign as campaigns

    if sum([resume, retry, dry_run, destroy]) > 1:
        raise ConfigurationError("choose one of --resume, --retry, --dry-run and --destroy.")
    wanted = campaigns.load_experiment(experiment, overrides, short=short)
    if dry_run:
        show(session.console, campaigns.plan(wanted), campaigns.observed(wanted, results=session.results))
        return
    again = f"`enos_crdb campaign {experiment}{' --short' if short else ''} --resume` goes on."
    try:
        with showing(session.console, verbose=session.verbose):
            if destroy:
                kept = campaigns.destroy(wanted, results=session.results)
                session.console.print(f"The hosts of {kept.directory.name} are gone. {again}", soft_wrap=True)
                return
            done = campaigns.execute(wanted, results=session.results, resume=resume, retry=retry)
    except KeyboardInterrupt:
        raise Interrupted(f"the campaign was interrupted; what was measured is kept. {again}") from None
    conclude(session.console, done, again)


def conclude(console: Console, done: Any, again: str) -> None:
    """Say how a campaign ended. Raises `CampaignError` unless every run was good."""
    failed, left = done.failed, done.left
    good = len({entry["item"] for entry in done.entries if entry["status"] == "ok"})
    console.print(f"Campaign: {done.directory}", soft_wrap=True)
    if done.finished and not failed:
        console.print(f"[green]✓[/green] {good} runs")
        return
    lines = [f"{good} runs are good, {len(failed)} failed, {left} are left."]
    lines += [
        f"  {entry['combination']}, run {entry['item']}: {entry['status']}: {entry['cause']}: "
        + entry["message"].partition("\n")[0]
        for entry in failed[:20]
    ]
    if left:
        lines.append(again)
    elif failed:
        lines.append(again.replace("--resume` goes on", "--retry` gives what failed new attempts"))
    raise CampaignError("\n".join(lines))


def show(console: Console, planned: Plan, earlier: Any) -> None:
    """Factors, combinations, exclusions, order, expected duration and node-hours."""
    from enos_crdb.campaign import estimate
    from enos_crdb.campaign.execution import clock
    from enos_crdb.sweep import said

    experiment = planned.experiment
    console.print(f"[bold]{escape(experiment.title or experiment.experiment)}[/bold]", soft_wrap=True)
    for name, factor in experiment.factors.items():
        console.print(f"factor {name}: {escape(', '.join(map(said, factor.assignments())))}", soft_wrap=True)
    console.print(_combinations(planned))
    for factors in planned.excluded:
        text = ",".join(f"{name}={said(level)}" for name, level in factors.items())
        console.print(f"excluded: {escape(text)}", soft_wrap=True)
    asked = experiment.repetitions
    console.print(
        f"{len(planned.combinations)} combinations x {asked.deployments} deployments x {asked.runs} runs = "
        f"{len(planned.items)} runs, in this order (seed {experiment.seed}):",
        soft_wrap=True,
    )
    _order(console, planned)
    expected = estimate(planned, earlier)
    source = "as the last campaign of it took" if earlier else "by constants of local hosts; a campaign corrects them"
    console.print(
        f"expected: {clock(expected.seconds)} (hours:minutes:seconds), {expected.deployments} deployments, "
        f"{expected.node_hours:.2f} node-hours ({source})",
        soft_wrap=True,
    )
    if experiment.adaptive:
        console.print(f"then up to {experiment.adaptive.most_runs} runs of combinations that scatter too much")


def _combinations(planned: Plan) -> Fitted:
    columns = [Column(heading=heading) for heading in ("combination", "deployment", "hosts", "backend")]
    rows = [
        (found.name, found.key, str(found.hosts), found.configuration.database.backend)
        for found in planned.combinations
    ]
    return Fitted(title="", columns=columns, rows=rows)


def _order(console: Console, planned: Plan) -> None:
    place = None
    for item in planned.items[:SHOWN]:
        if place != planned.place(item):
            place = planned.place(item)
            console.print(f"  deployment {item.deployment_repetition} of {planned.of(item).key}:")
        console.print(f"    {item.number:4} {escape(item.combination)}  block {item.block}", soft_wrap=True)
    if len(planned.items) > SHOWN:
        console.print(f"    ... and {len(planned.items) - SHOWN} more")
