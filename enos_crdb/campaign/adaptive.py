"""More runs than were asked, where the interval is still too wide; or the word that the limit was reached."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from enos_crdb import loading, stats
from enos_crdb.campaign.record import CampaignRecord
from enos_crdb.sweep import Adaptive, Combination, Item, repetition

if TYPE_CHECKING:
    import pandas


def more(record: CampaignRecord) -> tuple[Item, ...]:
    """Items of one more deployment repetition, for the combinations that need more runs; none when all have enough.

    What is found is kept in the record: ``enough``, ``more``, ``unstable`` (the limit was reached), or ``failed``
    (nothing could be measured).
    """
    rule = record.plan.experiment.adaptive
    if rule is None:
        return ()
    verdicts = judge(record, rule)
    record.judged(verdicts)
    per_deployment = record.plan.experiment.repetitions.runs
    wanted = {
        name: min(per_deployment, rule.most_runs - found["planned"])
        for name, found in verdicts.items()
        if found["verdict"] == "more"
    }
    items = record.plan.items
    return repetition(
        record.plan.combinations,
        wanted,
        deployment=1 + max(item.deployment_repetition for item in items),
        first_block=1 + max(item.block for item in items),
        first=1 + max(item.number for item in items),
        seed=record.plan.experiment.seed,
    )


def judge(record: CampaignRecord, rule: Adaptive) -> dict[str, dict[str, Any]]:
    """For each combination: runs that count, runs that were planned, the widest interval, the verdict."""
    good = {entry["combination"] for entry in record.entries if entry["status"] == "ok"}
    table = _table(record) if good else None
    return {combination.name: _verdict(record, rule, table, combination) for combination in record.plan.combinations}


def _table(record: CampaignRecord) -> pandas.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of attempts that failed, which everybody was told of when they did
        return loading.load(record.directory)


def _verdict(
    record: CampaignRecord, rule: Adaptive, table: pandas.DataFrame | None, combination: Combination
) -> dict[str, Any]:
    runs = sum(e["combination"] == combination.name and e["status"] == "ok" for e in record.entries)
    planned = sum(item.combination == combination.name for item in record.plan.items)
    found: dict[str, Any] = {"runs": runs, "planned": planned, "verdict": "failed"}
    if table is None or not runs:
        return found
    judged = {
        scenario: _scenario(record, rule, table[table["scenario"] == scenario], combination.name)
        for scenario in combination.configuration.bench.scenarios
    }
    found["relative_widths"] = {name: one["relative_width"] for name, one in judged.items()}
    found["units_wanted"] = {name: one["wanted"] for name, one in judged.items()}
    enough = all(one["enough"] for one in judged.values())
    found["verdict"] = "enough" if enough else "more" if planned < rule.most_runs else "unstable"
    return found


def _scenario(record: CampaignRecord, rule: Adaptive, rows: pandas.DataFrame, name: str) -> dict[str, Any]:
    """Whether one scenario of a combination has as many units as the scatter of the first stage asks for (Stein 1945).

    The runs that were planned from the beginning tell the scatter, and it is not looked at again: a rule that stops as
    soon as an interval happens to be narrow stops at those that are too narrow.
    """
    names = [name, *(other.name for other in record.plan.combinations if other.name != name)]
    first = rows[rows["block"] <= _first_stage(record)]
    mine, *among = (stats.by_run(first[first["combination"] == one]) for one in names)
    options: dict[str, Any] = {"among": among, "confidence": rule.confidence}
    wanted = stats.units_wanted(mine, rule.metric, rule.relative_width, **options)
    now = stats.estimate(stats.by_run(rows[rows["combination"] == name]), rule.metric, **options)
    return {
        "relative_width": round(now.relative_width, 4),
        "wanted": wanted,
        "enough": wanted is not None and now.covers != "iterations" and now.units >= wanted,
    }


def _first_stage(record: CampaignRecord) -> int:
    """The last block that was planned from the beginning."""
    deployments = record.plan.experiment.repetitions.deployments
    return max(item.block for item in record.plan.items if item.deployment_repetition <= deployments)
