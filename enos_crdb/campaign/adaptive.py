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
    mine = table[table["combination"] == combination.name]
    estimates = {
        scenario: stats.estimate(stats.by_run(mine, scenario), rule.metric, confidence=rule.confidence)
        for scenario in combination.configuration.bench.scenarios
    }
    found["relative_widths"] = {name: round(estimate.relative_width, 4) for name, estimate in estimates.items()}
    wide = any(stats.enough(estimate, rule.relative_width) != "enough" for estimate in estimates.values())
    found["verdict"] = "enough" if not wide else "more" if planned < rule.most_runs else "unstable"
    return found
