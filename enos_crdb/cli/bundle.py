"""The command ``bundle``: what was measured as one archive, and the check of one."""

from __future__ import annotations

from pathlib import Path

import click

from enos_crdb.cli.session import Session
from enos_crdb.errors import ConfigurationError


@click.command()
@click.argument("what", nargs=-1, metavar="[CAMPAIGN|DEPLOYMENT|RUN]...")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Archive to write; by default NAME.tar.gz in the current directory.",
)
@click.option(
    "--check",
    "archive",
    type=click.Path(path_type=Path, exists=True),
    help="Compare a bundle, packed or unpacked, with its checksums, and pack nothing.",
)
@click.pass_obj
def bundle(session: Session, what: tuple[str, ...], output: Path | None, archive: Path | None) -> None:
    """Pack a campaign into an archive, without passwords.

    By default this is the newest campaign. The archive holds everything that the report is computed from.
    """
    from enos_crdb.bundle import check, gather, pack

    if archive is not None:
        if what or output:
            raise ConfigurationError("--check looks at a bundle and makes none: give nothing else with it.")
        found = check(archive)
        session.console.print(f"[green]✓[/green] {found.path}: {found.files} files as they were packed")
        return
    contents = gather(session.results.resolve(), what)
    made = pack(contents, output or Path(f"{contents.name}.tar.gz"))
    session.console.print(
        f"[green]✓[/green] {made.path}: {len(contents.runs)} runs, {made.files} files, {made.bytes / 1e6:.1f} MB",
        soft_wrap=True,
    )
    if made.masked:
        session.console.print(f"Secrets were masked in {', '.join(made.masked)}", soft_wrap=True)
