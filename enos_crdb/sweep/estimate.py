"""How long a campaign takes and how many node-hours it uses: from what was measured, else from constants."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from enos_crdb.config import Configuration
from enos_crdb.sweep.combinations import Combination
from enos_crdb.sweep.order import Item
from enos_crdb.sweep.plan import Plan

# The constants are those of local hosts on a machine of two cores. A campaign soon knows better: `Observed`.
DEPLOY_S = 30.0
"""One deployment from prepared layers: 18 s (2 hosts, PostgreSQL) to 33 s (4 hosts, Galera) were measured."""
DEPLOY_HOST_S = 3.0
"""For each host beyond the fourth."""
DESTROY_S = 3.0
RUN_S = 12.0
"""Before and after the scenarios of a run: prepare Rally, stop it, collect."""
RESET_S = 6.0
"""Per scenario: the database made anew (2 to 5 s), the preflight, starting Rally's process."""
NETWORK_S = 8.0
"""A run with emulation: installing it, and the round trips measured before and after."""
ITERATION_S = 0.25
"""The 2018 study's scenarios took 0.1 to 0.5 s each without a delay."""
ROUND_TRIPS = 30
"""Statements that an iteration waits for, one after the other; each pays the delay there and back."""
HASH_S = 0.24
"""CPU time of a bcrypt hash at 12 rounds; it doubles with each round. An iteration makes about two."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What earlier entries of the same campaign took, in seconds."""

    runs: Mapping[str, Sequence[float]]
    """By combination."""
    deployments: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is still to be done."""

    runs: int
    deployments: int
    seconds: float
    node_hours: float


class Clock:
    """Predicts durations of one plan."""

    def __init__(self, plan: Plan, observed: Observed | None = None) -> None:
        self._plan = plan
        self._observed = observed or Observed(runs={})
        ratios = [
            seconds / run_s(combination.configuration)
            for combination in plan.combinations
            for seconds in self._observed.runs.get(combination.name, ())
        ]
        self._pace = statistics.median(ratios) if ratios else 1.0

    def run_s(self, combination: Combination) -> float:
        """Of one run: the median of its earlier runs; else the constants, at the pace of the others."""
        earlier = self._observed.runs.get(combination.name)
        return statistics.median(earlier) if earlier else self._pace * run_s(combination.configuration)

    def deploy_s(self, combination: Combination) -> float:
        """Of one deployment, the destruction of the one before included."""
        earlier = self._observed.deployments
        made = statistics.median(earlier) if earlier else deploy_s(combination.configuration)
        return made + DESTROY_S

    def remaining(self, items: Iterable[Item], *, living: tuple[int, str] | None = None) -> Estimate:
        """What `items` take, in this order; ``living`` is (deployment repetition, key) of what is deployed now."""
        runs = deployments = 0
        seconds = node_s = 0.0
        for item in items:
            combination = self._plan.of(item)
            place = (item.deployment_repetition, combination.key)
            spent = self.run_s(combination)
            runs += 1
            if place != living:
                spent += self.deploy_s(combination)
                deployments, living = deployments + 1, place
            seconds += spent
            node_s += spent * combination.hosts
        return Estimate(runs=runs, deployments=deployments, seconds=seconds, node_hours=node_s / 3600)


def estimate(plan: Plan, observed: Observed | None = None) -> Estimate:
    """The whole plan, from nothing. Adaptive repetitions, whose number nobody knows, are not in it."""
    return Clock(plan, observed).remaining(plan.items)


def deploy_s(configuration: Configuration) -> float:
    """One deployment by the constants, in seconds."""
    hosts = sum(group.count for group in configuration.machines)
    return DEPLOY_S + DEPLOY_HOST_S * max(0, hosts - 4)


def run_s(configuration: Configuration) -> float:
    """One run by the constants, in seconds."""
    emulated = NETWORK_S if configuration.emulation.constraints else 0.0
    return RUN_S + emulated + len(configuration.bench.scenarios) * (RESET_S + _load_s(configuration))


def _load_s(configuration: Configuration) -> float:
    """The load of one scenario. Rallies of a heavy load run at the same time."""
    bench = configuration.bench
    if duration_s := getattr(bench.runner, "duration_s", None):
        return float(duration_s)
    if rate := getattr(bench.runner, "rps", None):
        return bench.times / float(rate)
    return bench.times * _iteration_s(configuration) / bench.concurrency


def _iteration_s(configuration: Configuration) -> float:
    longest_ms = max((constraint.delay_ms for constraint in configuration.emulation.constraints), default=0.0)
    hashes = 2 * HASH_S * 2.0 ** (configuration.openstack.keystone.password_hash_rounds - 12)
    return ITERATION_S + hashes + ROUND_TRIPS * 2 * longest_ms / 1000
