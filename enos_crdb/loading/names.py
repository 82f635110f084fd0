"""What a person means by the name of a run, a deployment or a campaign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from enos_crdb import record
from enos_crdb.errors import StateError
from enos_crdb.store import CAMPAIGNS

MARKS = (record.FILE, "campaign.json", "deployment.json", "runs", CAMPAIGNS, "current")
"""Files and directories of which something stored has at least one."""


def named(results: Path, name: str, *, current: Path | None = None) -> Path:
    """The directory called `name`: a path, a name below `results`, or the beginning of a run's or campaign's name.

    Runs of the deployment `current` (a directory; by default the one that `results` calls so) come before all others.
    Raises `StateError` when `name` means nothing, or several things.
    """
    for path in (Path(name), results / name, results / CAMPAIGNS / name):
        if path.is_dir() and (path.resolve().parent.name == "runs" or any((path / mark).exists() for mark in MARKS)):
            return path.resolve()
    found = sorted(_beginning(results, name, current or results / "current"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise StateError(
            f"nothing stored in {results} is called '{name}': no run, deployment or campaign.\n"
            "`enos_crdb info` lists the runs of the current deployment; the path of a directory works as well."
        )
    there = ", ".join(path.name for path in found)
    raise StateError(f"'{name}' is the beginning of several names: {there}.\nWrite more of it.")


def run_of(deployment: Path, name: str) -> Path:
    """The run of `deployment` (a directory) that is called `name`. Raises `StateError`, also for one of another."""
    found = named(deployment.parent, name, current=deployment)
    if found.parent != (deployment / "runs").resolve():
        raise StateError(f"{found.name} is no run of {deployment.name}: its hosts know nothing of it.")
    return found


def _beginning(results: Path, name: str, current: Path) -> Iterator[Path]:
    """Runs and campaigns whose names begin with `name`; the current deployment's runs come before all others."""
    if mine := list(_starting(current.resolve() / "runs", name)):
        yield from mine
        return
    yield from _starting(results / CAMPAIGNS, name)
    for deployment in results.glob("*/runs"):
        if not deployment.parent.is_symlink():
            yield from _starting(deployment, name)


def _starting(place: Path, name: str) -> Iterator[Path]:
    if name:
        yield from (path.resolve() for path in place.glob("*") if path.name.startswith(name) and path.is_dir())
