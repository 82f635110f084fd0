"""The beginning of a page: what may be wrong, and what was measured on what."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from enos_crdb import loading, stats
from enos_crdb.loading.settings import machine
from enos_crdb.model import Host
from enos_crdb.record import RunRecord
from enos_crdb.report import parts
from enos_crdb.report.material import Material
from enos_crdb.report.numbers import durations
from enos_crdb.report.parts import Notes, Section, Table
from enos_crdb.report.results import short

FEW = 3
"""Runs that are named one by one in a sentence; more are counted."""


def warnings(material: Material) -> Section:
    """What a reader must know before any number."""
    return Section(
        anchor="warnings",
        title="Warnings",
        parts=tuple(part for part in (_refused(material), _incomplete(material), _doubts(material)) if part.lines),
    )


def _refused(material: Material) -> Notes:
    refused = [f"{one.directory.name}: {one.reason}" for one in material.left if one.refused]
    return Notes(kind="refused", title="Refused: measured, but not shown", lines=tuple(refused))


def _incomplete(material: Material) -> Notes:
    lines = [f"{one.directory.name}: {one.reason}" for one in material.left if not one.refused]
    failed = [line for line in material.journal if line.get("status") == "failed"]
    if failed:
        causes = sorted({str(line.get("cause") or "no cause given") for line in failed})
        lines.append(f"{len(failed)} attempts of the campaign failed ({', '.join(causes)}); see the campaign's order.")
    if material.campaign and not material.campaign.get("finished_at"):
        planned = len(material.campaign.get("plan") or ())
        done = len({line.get("item") for line in material.journal if line.get("status") == "ok"})
        lines.append(f"the campaign is not finished: {done} of {planned} planned runs are done.")
    if material.torn_journal:
        lines.append("the last line of the campaign's journal is torn: an attempt is missing from its order.")
    lines += [f"{run.name}: {run.summary.failure}" for run in material.runs if run.summary.failure]
    return Notes(kind="refused", title="Left out, or not complete", lines=tuple(lines))


def _doubts(material: Material) -> Notes:
    """Warnings of the runs. What several of them say with other numbers is said once, as the first run said it."""
    told: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for run in material.runs:
        for doubt in dict.fromkeys(run.summary.doubts):
            told.setdefault((doubt.kind, doubt.about), []).append((run.name, doubt.text))
    lines = [_said(found, len(material.runs)) for found in told.values()]
    spoiled = (*lines, *_changed(material), *_unstable(material))
    return Notes(kind="warning", title="What may have spoiled a number", lines=spoiled)


def _changed(material: Material) -> Iterator[str]:
    """Combinations of a campaign whose runs do not repeat one another: something was changed between them."""
    planned: dict[str, list[loading.StoredRun]] = {}
    for one in material.combinations:
        if one.runs[0].campaign:
            planned.setdefault(one.runs[0].campaign.combination, []).append(one.runs[0].stored)
    for name, parts_ in planned.items():
        if len(parts_) > 1:
            what = [f"{path} ({' | '.join(values)})" for path, values in loading.differing(parts_).items()]
            more = f" and {len(what) - FEW} more" if len(what) > FEW else ""
            told = f"{', '.join(what[:FEW])}{more}"
            yield f"{name}: its runs do not repeat one another and are shown apart; they differ in {told}"


def _said(found: Sequence[tuple[str, str]], total: int) -> str:
    names = list(dict.fromkeys(name for name, _ in found))
    text = found[0][1]
    if total == 1:
        return text
    alike = " (the numbers are those of the first)" if len({warning for _, warning in found}) > 1 else ""
    who = f"all {total} runs" if len(names) == total else f"{len(names)} of {total} runs"
    return f"{', '.join(names) if len(names) <= FEW else who}{alike}: {text}"


def _unstable(material: Material) -> Iterator[str]:
    """Combinations whose runs disagree, or that drifted: of each the scenario that is worst, and how many there are."""
    for one in material.combinations:
        scenarios = [scenario for scenario in material.scenarios if one.having(scenario)]
        judged = [(scenario, stats.stability(durations(one.having(scenario), scenario))) for scenario in scenarios]
        bad = [(scenario, found) for scenario, found in judged if found.verdict == "unstable"]
        if bad:
            worst, found = max(bad, key=lambda pair: 0.0 if math.isnan(pair[1].between) else pair[1].between)
            where = f"{one.label}: " if material.several else ""
            many = f"{len(bad)} of {len(judged)} scenarios, most of all " if len(bad) > 1 else ""
            yield f"unstable: {where}{many}{short(worst)}: {'; '.join(found.reasons)} (durations in s)"


def setting(material: Material) -> Section:
    """Hosts, software, load; what is the same for all combinations, and what differs."""
    return Section(
        anchor="setting",
        title="What was measured, on what",
        parts=tuple(part for part in (_equal(material), _different(material), _hosts(material)) if part.rows),
    )


def _values(material: Material) -> dict[str, list[str]]:
    """Setting -> its value in each combination (several, when its runs differ)."""
    names = dict.fromkeys(name for run in material.runs for name in run.settings)
    found = {
        name: [_one({run.settings.get(name, "") for run in combination.runs}) for combination in material.combinations]
        for name in names
    }
    machines = {machine(run.record.provenance) for run in material.runs}
    return {**found, "machine that ran enos_crdb": [_one(machines)] * len(material.combinations)}


def _one(values: set[str]) -> str:
    return " | ".join(sorted(values))


def _equal(material: Material) -> Table:
    rows = [{"setting": name, "value": found[0]} for name, found in _values(material).items() if len(set(found)) == 1]
    return Table(
        pairs=True,
        name="settings-equal",
        caption="Settings" + (", equal in all combinations." if material.several else "."),
        columns=(parts.text("setting", "setting"), parts.text("value", "value")),
        rows=tuple(row for row in rows if row["value"]),
    )


def _different(material: Material) -> Table:
    values = {name: found for name, found in _values(material).items() if len(set(found)) > 1}
    rows = [
        {
            "combination": combination.label,
            "runs": len(combination.runs),
            **{name: found[combination.index] for name, found in values.items()},
        }
        for combination in material.combinations
    ]
    columns = (
        parts.text("combination", "combination"),
        parts.count("runs", "runs"),
        *(parts.text(name, name) for name in values),
    )
    return Table(
        name="settings-different",
        caption="Combinations: what differs between them, and how often each was run.",
        columns=columns,
        rows=tuple(rows) if material.several else (),
    )


def _hosts(material: Material) -> Table:
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for combination in material.combinations:
        for run in combination.runs:
            for host in run.record.hosts:
                row = _host(run.record, host)
                kept = rows.setdefault(tuple(row.values()), {**row, "combinations": []})
                kept["combinations"].append(combination.label)
    shown = [{**row, "combinations": _which(row["combinations"], material)} for row in rows.values()]
    columns = [
        parts.text("host", "host"),
        parts.text("roles", "roles"),
        parts.text("site", "site"),
        parts.text("processors", "processors"),
        parts.text("memory", "memory"),
        parts.text("system", "system"),
    ]
    if material.several:
        columns.append(parts.text("in", "combinations"))
    return Table(
        name="hosts",
        caption="Hosts, as the provider gave them (processors: the limit set, or what the host sees).",
        columns=tuple(columns),
        rows=tuple(shown),
    )


def _which(labels: Sequence[str], material: Material) -> str:
    distinct = list(dict.fromkeys(labels))
    return "all" if len(distinct) == len(material.combinations) else "; ".join(distinct)


def _host(run: RunRecord, host: Host) -> dict[str, Any]:
    told = run.versions.get(host.name, {})
    limit = run.cpus.get(host.name)
    processors = f"{limit:g} of {told.get('processors', '?')}" if limit else str(told.get("processors", ""))
    memory = f"{told['memory_mb']} MB" if "memory_mb" in told else ""
    system = ", Linux ".join(str(told[key]) for key in ("system", "kernel") if key in told)
    return {
        "host": host.name,
        "roles": ", ".join(host.roles),
        "site": host.site,
        "processors": processors,
        "memory": memory,
        "system": system,
    }
