"""The end of a page: the order of the campaign, the raw data, and how all of it was made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from enos_crdb.loading.settings import machine
from enos_crdb.record import Provenance
from enos_crdb.report import parts
from enos_crdb.report.material import Material
from enos_crdb.report.parts import Hyperlink, Section, Table

RAW = ("manifest.json", "samples.csv", "summary.csv", "rally", "hosts")
"""Files and directories of a run that are linked."""


def order(material: Material) -> Section:
    """What became of every attempt, in the order in which they ended."""
    rows = [
        {
            **{key: line.get(key) for key in ("item", "combination", "deployment_repetition", "repetition", "block")},
            **{key: line.get(key) for key in ("attempt", "status", "cause", "message", "run")},
            "started_at": _moment(line.get("started_at")),
            "finished_at": _moment(line.get("finished_at")),
        }
        for line in material.journal
    ]
    columns = (
        parts.count("item", "item"),
        parts.text("combination", "combination"),
        parts.count("deployment", "deployment_repetition"),
        parts.count("repetition", "repetition"),
        parts.count("block", "block"),
        parts.count("attempt", "attempt"),
        parts.text("status", "status"),
        parts.text("began (UTC)", "started_at"),
        parts.text("ended (UTC)", "finished_at"),
        parts.text("run", "run"),
        parts.text("cause", "cause"),
        parts.text("message", "message"),
    )
    table = Table(
        name="order",
        caption="Attempts in the order in which they ended; failed and refused ones included.",
        columns=columns,
        rows=tuple(rows),
    )
    ended = {line.get("item") for line in material.journal}
    never = [item for item in material.campaign.get("plan") or () if item.get("item") not in ended]
    seed = material.campaign.get("seed")
    lead = [f"Combinations were run in blocks, each in an order drawn at random (seed {seed})."]
    if never:
        lead.append(f"{len(never)} of {len(material.campaign['plan'])} planned items have not been run.")
    return Section(
        anchor="order",
        title="Order of the campaign",
        lead=tuple(lead),
        parts=(table,) if rows else (),
    )


def _moment(stamp: Any) -> str:
    return str(stamp)[:19].replace("T", " ") if stamp else ""


def provenance(material: Material) -> Section:
    """Which code made each run, by which command, when, on which machine."""
    rows = tuple(
        {
            "run": run.name,
            "combination": combination.label,
            "deployment": run.deployment,
            "began": _moment(run.record.started_at),
            "ended": _moment(run.record.finished_at),
            **_code(run.record.provenance),
            "machine": machine(run.record.provenance),
        }
        for combination in material.combinations
        for run in combination.runs
    )
    columns = [parts.text("run", "run")]
    columns += [parts.text("combination", "combination")] if material.several else []
    columns += [
        parts.text("deployment", "deployment"),
        parts.text("began (UTC)", "began"),
        parts.text("ended (UTC)", "ended"),
        parts.text("enos_crdb", "code"),
        parts.text("command", "command"),
        parts.text("load before", "load"),
        parts.text("machine that ran enos_crdb", "machine"),
    ]
    table = Table(
        name="runs",
        caption="Runs: the code that made them, its command line, the machine and its load average (1, 5, 15 min) when "
        "the run began.",
        columns=tuple(columns),
        rows=rows,
    )
    return Section(anchor="provenance", title="How it was made", lead=_libraries(material), parts=(table,))


def _code(made: Provenance) -> dict[str, str]:
    commit = f", commit {made.commit[:10]}" if made.commit else ""
    dirty = " with uncommitted changes" if made.dirty else ""
    return {
        "code": f"{made.enos_crdb}{commit}{dirty}",
        "command": " ".join(made.command),
        "load": ", ".join(f"{value:.2f}" for value in made.machine.load_average),
    }


def _libraries(material: Material) -> tuple[str, ...]:
    sets = {
        ", ".join(f"{name} {version}" for name, version in sorted(run.record.provenance.libraries.items()))
        for run in material.runs
    } - {""}
    return tuple(f"Libraries of the engine: {one}." for one in sorted(sets))


def raw(material: Material, place: Path) -> tuple[tuple[str, tuple[Hyperlink, ...]], ...]:
    """Per run, links to what it kept, relative to `place`, where the page is."""
    found = []
    for run in material.runs:
        kept = [Hyperlink(text=name, target=_relative(run.directory / name, place)) for name in RAW
                if (run.directory / name).exists()]  # fmt: skip
        found.append((run.name, tuple(kept)))
    return tuple(found)


def _relative(path: Path, place: Path) -> str:
    return Path(os.path.relpath(path.resolve(), place.resolve())).as_posix()
