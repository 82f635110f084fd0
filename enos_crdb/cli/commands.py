"""The commands. Each one parses, opens what it needs, calls, and prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

import enos_crdb
from enos_crdb import config, shipped
from enos_crdb.cli import show
from enos_crdb.cli.bundle import bundle
from enos_crdb.cli.campaign import campaign
from enos_crdb.cli.emulate import emulate
from enos_crdb.cli.report import compare, page_of, report
from enos_crdb.cli.session import Session
from enos_crdb.errors import BenchError, ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])

env_option = click.option(
    "--env",
    "file",
    type=click.Path(path_type=Path),
    required=True,
    help="Deployment file (YAML), or the name of a shipped one; `enos_crdb configs` lists them.",
)
set_option = click.option(
    "--set",
    "overrides",
    metavar="PATH=VALUE",
    multiple=True,
    help="Replace a value of the file, for example --set database.max_connections=200. Repeatable.",
)


def bench_options(command: F) -> F:
    """Options that replace values of the ``bench`` section."""
    for option in reversed(
        (
            click.option(
                "--scenario",
                "scenarios",
                multiple=True,
                help="Run this scenario; by default those of the file. Repeatable.",
            ),
            click.option("--times", type=int, help="Iterations of each scenario."),
            click.option("--concurrency", type=int, help="Iterations in flight at the same time."),
            click.option(
                "--load",
                type=click.Choice(["light", "heavy"]),
                help="One Rally (light), or one per Keystone host (heavy).",
            ),
        )
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(enos_crdb.__version__, prog_name="enos_crdb")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    envvar="ENOS_CRDB_RESULTS",
    show_default=True,
    help="Where deployments and runs are stored.",
)
@click.option(
    "--deployment",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of a deployment; by default the current deployment in --results.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show each task, on each host.")
@click.pass_context
def cli(context: click.Context, results: Path, deployment: Path | None, verbose: bool) -> None:
    """Deploy OpenStack Keystone on a SQL database, benchmark it with Rally, and keep the results."""
    context.obj = Session(
        results=results, directory=deployment, verbose=verbose, console=Console(highlight=False, soft_wrap=False)
    )


@cli.command()
@env_option
@set_option
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option("--phase", "only", help="Repeat only this step of the deployment; --dry-run lists the steps.")
@click.pass_obj
def deploy(session: Session, file: Path, overrides: tuple[str, ...], dry_run: bool, only: str | None) -> None:
    """Get hosts and install the database, Keystone and Rally on them.

    After an interruption, the same command continues.
    """
    configuration = config.load(file, overrides)
    if dry_run:
        show.plan(session.console, configuration)
        return
    session.deploy(configuration, only=only)


@cli.group()
def bench() -> None:
    """Measure the current deployment."""


@bench.command("keystone")
@bench_options
@set_option
@click.pass_obj
def bench_keystone(session: Session, /, overrides: tuple[str, ...], **options: Any) -> None:
    """Run Rally's Keystone scenarios on the current deployment and store the results as a new run."""
    session.bench(session.bench_section(overrides, options))


@cli.command()
@env_option
@set_option
@bench_options
@click.pass_obj
def run(session: Session, /, file: Path, overrides: tuple[str, ...], **options: Any) -> None:
    """Deploy, benchmark, collect, and show the results."""
    configuration = config.load(file, overrides)
    section = session.bench_section((), options, configuration)
    session.deploy(configuration, announce=False)
    try:
        session.bench(section)
    except BenchError:
        page_of(session, session.deployment().last_run())  # the page lists what failed, too
        raise
    page_of(session, session.deployment().last_run())


@cli.command()
@click.argument("run", required=False, default="")
@click.pass_obj
def collect(session: Session, run: str) -> None:
    """Copy logs, configurations and versions from the hosts.

    They are stored in RUN, by default the last one. Every run ends with this step; the command repeats it.
    """
    session.collect(run)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def info(session: Session, as_json: bool) -> None:
    """Show the current deployment.

    Lists its hosts, endpoints, completed steps and runs.
    """
    facts = session.info()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        show.facts(session.console, facts)


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def ssh(session: Session, host: str, command: tuple[str, ...]) -> None:
    """Open a shell on HOST, or run COMMAND on it."""
    sys.exit(session.ssh(host, command))


@cli.command()
@click.argument("host")
@click.argument("unit", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep showing new lines.")
@click.option("-n", "--lines", type=int, default=200, show_default=True, help="How many of the last lines to show.")
@click.pass_obj
def logs(session: Session, host: str, unit: str | None, follow: bool, lines: int) -> None:
    """Show the journal of HOST, or of one systemd UNIT on it."""
    command = ["journalctl", "--no-pager", f"--lines={lines}"]
    command += [f"--unit={unit}"] if unit else []
    command += ["--follow"] if follow else []
    sys.exit(session.ssh(host, command))


@cli.command(context_settings={"ignore_unknown_options": True})
@click.option("--region", help="Keystone host to use; by default the first.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def openstack(session: Session, region: str | None, arguments: tuple[str, ...]) -> None:
    """Run the openstack command as the administrator.

    For example: enos_crdb openstack -- project list.
    """
    sys.exit(session.openstack(arguments, region))


@cli.command()
@env_option
@set_option
@click.pass_obj
def check(session: Session, file: Path, overrides: tuple[str, ...]) -> None:
    """Check a deployment file and this machine.

    Lists what is missing on this machine, and changes nothing.
    """
    configuration = config.load(file, overrides)
    show.plan(session.console, configuration)
    session.check(configuration)


@cli.command()
@click.option(
    "--hosts",
    type=click.Choice(["keep", "release"]),
    default="release",
    show_default=True,
    help="`release` gives the hosts back; `keep` keeps them, but stops the software and removes its data and files.",
)
@click.option(
    "--env",
    "file",
    type=click.Path(path_type=Path),
    help="Destroy the deployment that this file describes. Reservations are found by name, from any machine.",
)
@set_option
@click.pass_obj
def destroy(session: Session, hosts: str, file: Path | None, overrides: tuple[str, ...]) -> None:
    """Remove the current deployment and give its hosts back. Runs and logs stay."""
    if file is None:
        if overrides:
            raise ConfigurationError("--set replaces values of a deployment file: give --env as well.")
        session.destroy(keep_hosts=hosts == "keep")
    else:
        session.destroy_request(config.load(file, overrides), keep_hosts=hosts == "keep")


@cli.command()
@click.pass_obj
def scenarios(session: Session) -> None:
    """List Rally's Keystone scenarios."""
    show.scenarios(session.console)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of the deployment file, for editors."""
    from enos_crdb.reference import schema_text

    click.echo(schema_text(), nl=False)


@cli.command()
@click.argument("name", required=False)
def configs(name: str | None) -> None:
    """List the shipped deployment files, or print one of them."""
    files = {path.name: path for path in sorted(shipped.directory("configs").glob("*.yaml"))}
    if name is None:
        for path in files.values():
            click.echo(path)
        return
    try:
        click.echo(files[name].read_text(encoding="utf-8"), nl=False)
    except KeyError:
        raise ConfigurationError(
            f"no deployment file called '{name}' is shipped; there are: {', '.join(files)}."
        ) from None


cli.add_command(emulate)
cli.add_command(campaign)
cli.add_command(report)
cli.add_command(compare)
cli.add_command(bundle)
