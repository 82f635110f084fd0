"""What distance should cost by the count of round trips, beside what it did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from enos_crdb import loading, stats
from enos_crdb.report import drawing, figures, parts
from enos_crdb.report.figures import Curve
from enos_crdb.report.material import Material
from enos_crdb.report.parts import Figure, Notes, Section, Table
from enos_crdb.report.results import file_name, short
from enos_crdb.stats import ITERATION


def latency_model(material: Material) -> Section:
    """Predicted and measured means, with the error; nothing when no two combinations differ in their network only."""
    import pandas

    tables = [
        run.rows(scenario, ITERATION).assign(run=run.name, deployment=run.deployment)
        for run in material.runs
        for scenario in run.scenarios
    ]
    points, missing = loading.points([run.stored for run in material.runs], pandas.concat(tables))
    found = stats.latency_model(points)
    labels = {group.name: group.label for group in loading.combine([run.stored for run in material.runs])}
    tested = [prediction for fit in found.fits for prediction in fit.predictions]
    notes = Notes(kind="note", title="Not in the model", lines=missing)
    return Section(
        anchor="model",
        title="Latency model",
        lead=tuple(_lead(found)),
        parts=(*_figures(found), _table(tested, labels), *((notes,) if missing else ())) if tested else (),
    )


def _lead(found: stats.LatencyModel) -> Iterator[str]:
    yield (
        "Predicted mean = service time + (SQL round trips + replays) x RTT + replications x RTT between the databases. "
        "The service time is taken from the combination with the least delay of each series (fitted); everything else "
        "is counted or measured, nothing is adjusted. The model knows no queues."
    )
    if not math.isnan(found.error_percent):
        yield f"Mean absolute error, where it was not fitted: {parts.number(found.error_percent)} %."
    if found.worst is not None:
        worst = found.worst
        yield (
            f"Farthest off: {short(worst.point.scenario)} on {worst.point.combination}, by "
            f"{parts.number(worst.error_percent)} %."
        )


def _table(found: Sequence[stats.Prediction], labels: Mapping[str, str]) -> Table:
    columns = (
        parts.text("scenario", "scenario"),
        parts.text("combination", "combination"),
        parts.measure("RTT (ms)", "rtt_ms"),
        parts.measure("round trips", "round_trips"),
        parts.measure("replays", "replays"),
        parts.measure("replications", "replications"),
        parts.measure("their RTT (ms)", "replication_rtt_ms"),
        parts.measure("network (ms)", "network_ms"),
        parts.measure("predicted (ms)", "predicted_ms"),
        parts.ranged("measured (ms)", "measured_ms"),
        parts.measure("error (%)", "error_percent"),
        parts.text("", "fitted"),
    )
    return Table(
        name="latency-model",
        caption="Mean duration of an iteration as the model predicts it, and as measured [95 % interval]; counts are "
        "per iteration.",
        columns=columns,
        rows=tuple(_row(one, labels) for one in found),
    )


def _row(one: stats.Prediction, labels: Mapping[str, str]) -> dict[str, Any]:
    point = one.point
    return {
        "scenario": short(point.scenario),
        "combination": labels[point.combination],
        "rtt_ms": point.rtt_ms,
        "round_trips": point.round_trips,
        "replays": point.replays,
        "replications": point.replications,
        "replication_rtt_ms": point.replication_rtt_ms,
        "network_ms": point.network_ms,
        "predicted_ms": one.predicted_ms,
        "measured_ms": one.measured_ms,
        "measured_ms_low": 1000 * point.measured.low,
        "measured_ms_high": 1000 * point.measured.high,
        "error_percent": one.error_percent,
        "fitted": "fitted here" if one.fitted else "",
    }


def _figures(found: stats.LatencyModel) -> Iterator[Figure]:
    """A figure per scenario, a mark per combination; hollow where the service time was taken from."""
    for scenario in dict.fromkeys(fit.scenario for fit in found.fits):
        fits = [fit for fit in found.fits if fit.scenario == scenario]
        curves = [
            Curve(
                label=fit.series + (" (fitted)" if fitted else ""),
                look=drawing.look(index),
                points=[
                    (one.predicted_ms, one.measured_ms, math.nan, math.nan)
                    for one in fit.predictions
                    if one.fitted == fitted
                ],
                hollow=fitted,
            )
            for index, fit in enumerate(fits)
            for fitted in (True, False)
        ]
        yield Figure(
            name=file_name("model", short(scenario)),
            caption=f"{short(scenario)}: mean duration as predicted and as measured; on the line they are equal.",
            alternative=f"Predicted and measured means of {short(scenario)}. "
            + "; ".join(f"{fit.series}: error {parts.number(fit.error_percent)} %" for fit in fits),
            draw=partial(figures.pairs, short(scenario), curves, x="predicted mean (ms)", y="measured mean (ms)"),
        )
