"""The front door: parse, call, map errors to exit codes."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.markup import escape

from enos_crdb.cli import interruption
from enos_crdb.cli.commands import cli
from enos_crdb.errors import EnosCrdbError, Interrupted


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the code of what happened (docs/reference/exit-codes.md)."""
    interruption.install()
    sys.exit(_status(arguments))


def _status(arguments: list[str] | None) -> int:
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        return cli.main(args=arguments, prog_name="enos_crdb", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except EnosCrdbError as error:
        errors.print(f"[bold red]error:[/bold red] {escape(str(error))}")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        errors.print("[bold red]interrupted.[/bold red] `enos_crdb deploy` continues, `enos_crdb destroy` cleans up.")
        return Interrupted.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours. Python would complain at exit.
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    main()
