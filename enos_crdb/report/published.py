"""The published means of 2018 beside ours, where scenario, backend, load and network are comparable."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from importlib import resources
from typing import Any

from enos_crdb.report import drawing, figures, parts
from enos_crdb.report.figures import Curve
from enos_crdb.report.material import Material
from enos_crdb.report.numbers import Numbers
from enos_crdb.report.parts import Figure, Section, Table
from enos_crdb.report.results import file_name, short

LAN_MS = 5.0
"""Round trips below this are those of a local network, as the study's 0.08 ms."""
NEAR = 0.2
"""Other round trips are comparable when they differ by less than this share."""


@cache
def study() -> Mapping[str, Any]:
    """The study's figures as numbers, with their source; see ``study-2018.json``."""
    text = resources.files("enos_crdb.report").joinpath("study-2018.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def published(material: Material, found: Sequence[Numbers]) -> Section:
    """Ours and theirs, row by row, and as a figure."""
    rows = [row for one in found for row in _rows(one)]
    source = study()
    link = f"{', '.join(source['authors'])}: {source['title']}, {source['date']}, {source['url']}"
    lead = (
        f"Read off published figures, for orientation only: {link}. Theirs is the {source['how']}. "
        f"{source['setting']}. {source['load']}. Hardware, versions, hash rounds, caches and the number of iterations "
        "differ from ours, so a ratio says nothing about progress. Shown where backend, scenario and load are the same "
        "and the round trip is comparable; the nearest number of Keystones is taken.",
    )
    return Section(
        anchor="study-2018",
        title="The 2018 study beside ours",
        lead=lead,
        parts=(*_figures(material, rows), _table(rows)) if rows else (),
    )


def _rows(one: Numbers) -> Iterator[dict[str, Any]]:
    """The published mean that is nearest to `one`, if any is comparable."""
    run = one.combination.runs[0]
    keystones = len(run.record.names("keystone"))
    rtt_ms = one.combination.rtt_ms
    emulated = run.settings["emulation"] != "none"
    if (math.isnan(rtt_ms) and emulated) or not _alike(one):
        return
    # Nobody measured and nothing was emulated: hosts of one place, as in the study's local network.
    distance_ms = 0.0 if math.isnan(rtt_ms) else rtt_ms
    comparable = [
        mean
        for mean in study()["means"]
        if (mean["scenario"], mean["backend"], mean["load"])
        == (one.scenario, one.combination.backend, run.settings["load"])
        and _near(distance_ms, mean["rtt_ms"])
    ]
    if not comparable or one.n == one.failures:
        return
    nearest = min(comparable, key=lambda mean: (abs(math.log(mean["instances"] / max(1, keystones))), mean["figure"]))
    value, low, high = one.ms("mean")
    yield {
        "index": one.combination.index,
        "scenario": short(one.scenario),
        "combination": one.combination.label,
        "ours_ms": value,
        "ours_ms_low": low,
        "ours_ms_high": high,
        "ours_rtt_ms": rtt_ms,
        "ours_keystones": keystones,
        "study_ms": 1000 * nearest["mean_s"],
        "study_precision_ms": 1000 * nearest["precision_s"],
        "study_rtt_ms": nearest["rtt_ms"],
        "study_instances": nearest["instances"],
        "study_figure": nearest["figure"],
    }


def _alike(one: Numbers) -> bool:
    """Under its light load, the study asked the Keystone beside the only MariaDB: a delay was not on the way."""
    run = one.combination.runs[0]
    if one.combination.backend != "mariadb" or run.settings["load"] != "light" or one.combination.rtt_ms < LAN_MS:
        return True
    asked = {client.keystone for client in run.record.clients}
    return asked <= set(run.record.names("database"))


def _near(ours_ms: float, theirs_ms: float) -> bool:
    if theirs_ms < LAN_MS:
        return ours_ms < LAN_MS
    return abs(ours_ms - theirs_ms) <= NEAR * theirs_ms


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        parts.text("scenario", "scenario"),
        parts.text("combination", "combination"),
        parts.ranged("mean, ours (ms)", "ours_ms"),
        parts.measure("round trip, ours (ms)", "ours_rtt_ms"),
        parts.count("Keystones, ours", "ours_keystones"),
        parts.measure("mean, 2018 (ms)", "study_ms"),
        parts.measure("read to (ms)", "study_precision_ms"),
        parts.measure("round trip, 2018 (ms)", "study_rtt_ms"),
        parts.count("instances, 2018", "study_instances"),
        parts.text("figure", "study_figure"),
    )
    return Table(
        name="study-2018",
        caption="Mean duration of an iteration in milliseconds, ours and as read off the figures of 2018.",
        columns=columns,
        rows=tuple(rows),
    )


def _figures(material: Material, rows: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """One figure per combination: a row per scenario, ours filled, theirs hollow."""
    for one in material.combinations:
        mine = [row for row in rows if row["index"] == one.index]
        if not mine:
            continue
        names = [row["scenario"] for row in mine]
        look = drawing.look(one.index)
        ours = [(i, row["ours_ms"], row["ours_ms_low"], row["ours_ms_high"]) for i, row in enumerate(mine)]
        theirs = [(i, *_read_to(row["study_ms"], row["study_precision_ms"])) for i, row in enumerate(mine)]
        curves = (
            Curve(label=f"ours: {one.label}", look=look, points=ours),
            Curve(label="2018, read off a figure", look=drawing.look(4), points=theirs, hollow=True),
        )
        yield Figure(
            name=file_name("study-2018", str(one.index + 1)),
            caption=f"{one.label}: mean duration of an iteration, ours (filled) and 2018 (hollow). Bars: 95 % "
            "interval, and how precisely the figure could be read.",
            alternative=f"Means of {one.label}: "
            + "; ".join(
                f"{row['scenario']} {parts.number(row['ours_ms'])} ms ours, {parts.number(row['study_ms'])} ms in 2018"
                for row in mine
            ),
            draw=partial(figures.rows, one.label, names, curves, x="mean iteration (ms)"),
        )


def _read_to(value: float, precision: float) -> tuple[float, float, float]:
    return value, value - precision, value + precision
