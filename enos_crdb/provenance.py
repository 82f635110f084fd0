"""What identifies a run and lets it be repeated: the code, the command, the machine it was driven from."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

import enos_crdb
from enos_crdb.command import Runner
from enos_crdb.errors import CommandError
from enos_crdb.record import Machine, Provenance

LIBRARIES = ("enoslib", "ansible-core", "execo", "pydantic", "rich", "pandas", "numpy", "scipy", "matplotlib")
CHECKOUT = Path(__file__).resolve().parent.parent


def describe(runner: Runner) -> Provenance:
    """Version and commit of enos_crdb, command line, machine, libraries."""
    commit, dirty = _commit(runner)
    changed = uncommitted(runner) if dirty else ""
    return Provenance(
        enos_crdb=enos_crdb.__version__,
        commit=commit,
        dirty=dirty,
        changes=hashlib.sha256(changed.encode()).hexdigest()[:12] if changed else "",
        command=(Path(sys.argv[0]).name, *sys.argv[1:]),
        machine=Machine(
            kernel=platform.release(),
            architecture=platform.machine(),
            python=platform.python_version(),
            cpus=os.cpu_count(),
            load_average=os.getloadavg(),
        ),
        libraries=_libraries(),
    )


def _commit(runner: Runner) -> tuple[str | None, bool | None]:
    """The commit that the code is at; None for an installation that is not a git checkout."""
    if not (CHECKOUT / ".git").exists():
        return None, None
    try:
        commit = runner.run(["git", "rev-parse", "HEAD"], cwd=CHECKOUT).stdout.strip()
        status = runner.run(["git", "status", "--porcelain"], cwd=CHECKOUT).stdout
    except CommandError:  # no git on this machine, or a checkout of another user
        return None, None
    return commit, bool(status.strip())


def uncommitted(runner: Runner) -> str:
    """What differs from the commit in the files that git knows, as a patch; empty outside a checkout."""
    try:
        return runner.run(["git", "diff", "--no-color", "--no-ext-diff", "HEAD"], cwd=CHECKOUT).stdout
    except CommandError:
        return ""


@cache  # a process cannot change what it has imported
def _libraries() -> Mapping[str, str]:
    found = {}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
