"""``python -m keystone_crdb``: read the counters, or try Keystone's migrations one by one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: done and right; 1: not; 2: the command line is wrong."""
    options = _parser().parse_args(arguments)
    return _counters(options) if options.command == "counters" else _migrations(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keystone-crdb", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    counters = commands.add_parser("counters", help="print what Keystone's processes counted, as JSON")
    counters.add_argument("--directory", type=Path, help=f"where they count (default: {MULTIPROCESS})")
    migrations = commands.add_parser("migrations", help="run Keystone's migrations one by one on an empty database")
    migrations.add_argument("--config-file", action="append", default=[], help="as of keystone-manage; may be repeated")
    migrations.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def _counters(options: argparse.Namespace) -> int:
    directory = options.directory or Path(os.environ.get(MULTIPROCESS, ""))
    if directory == Path() or not directory.is_dir():
        named = f"{directory} is not a directory" if directory != Path() else "no directory is named"
        print(
            f"No counters: {named}. Name the one that Keystone counts into with --directory; it is what {MULTIPROCESS} "
            "holds in its environment, and it exists while Keystone runs.",
            file=sys.stderr,
        )
        return 1
    # prometheus_client decides at its import where to count; reading must not count anything itself.
    os.environ.pop(MULTIPROCESS, None)
    from keystone_crdb import counters

    print(json.dumps(counters.document(counters.stored(directory))))
    return 0


def _migrations(options: argparse.Namespace) -> int:
    from keystone_crdb import migrations

    return migrations.main(options.config_file, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
