"""The ``bench`` section: which Rally scenarios, under which load."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from enos_crdb.config.base import Section
from enos_crdb.config.scenarios import STUDY_2018, known

ScenarioName = Annotated[str, AfterValidator(known)]


class Constant(Section):
    """Closed loop: ``concurrency`` clients until ``times`` iterations are done."""

    type: Literal["constant"] = "constant"


class ConstantForDuration(Section):
    """Closed loop for a duration. Rally does not back off: use this or an open loop when things may fail."""

    type: Literal["constant_for_duration"]
    duration_s: float = Field(gt=0)


class Rps(Section):
    """Rally's own open loop: ``rps`` iterations start every second, whatever the answers. A late start is not told."""

    type: Literal["rps"]
    rps: float = Field(gt=0)


class OpenLoop(Section):
    """Open loop with intended starts: what an iteration waits because others are in its way is in its latency.

    At most ``concurrency`` iterations are in flight; beyond it, starts are late.
    """

    type: Literal["open_loop"]
    rate_per_s: float = Field(gt=0)
    """Intended starts per second, per Rally."""
    duration_s: float | None = Field(default=None, gt=0)
    """Intended starts fill this time; without it there are ``bench.times`` of them."""
    arrivals: Literal["even", "poisson"] = "even"
    """``even``: the same time between any two starts; ``poisson``: random ones, as from many independent users."""
    seed: int = Field(default=1, ge=0)
    """Where the random starts come from: the same seed gives the same starts, different ones on each Rally."""


Runner = Annotated[Constant | ConstantForDuration | Rps | OpenLoop, Field(discriminator="type")]


class Bench(Section):
    """What Rally runs against Keystone."""

    scenarios: list[ScenarioName] = Field(default=list(STUDY_2018), min_length=1)
    """Names as printed by ``enos_crdb scenarios``."""
    arguments: dict[ScenarioName, dict[str, Any]] = {}
    """Arguments of a scenario that replace ours, by scenario name."""
    times: int = Field(default=100, ge=1)
    """Iterations of each scenario, per Rally. Not used by a runner with ``duration_s``."""
    concurrency: int = Field(default=10, ge=1)
    """Iterations in flight at once, per Rally. With ``rps`` and ``open_loop``, the most there may ever be."""
    runner: Runner = Constant()
    warm_up_s: float = Field(default=0.0, ge=0)
    """Iterations that start in the first seconds of the load are kept, marked, and in no statistic."""
    steady_s: float | None = Field(default=None, gt=0)
    """How long after the warm-up iterations count; by default, all that follow."""
    projects: int = Field(default=1, ge=1)
    """Projects that Rally makes before the load, for scenarios that act as users."""
    users_per_project: int = Field(default=1, ge=1)
    """Users that Rally makes in each of those projects."""
    load: Literal["light", "heavy"] = "light"
    """``light``: one Rally against the first Keystone; ``heavy``: one per Keystone host, started together."""
    placement: Literal["rally", "keystone", "database"] = "rally"
    """On hosts of which role Rally runs: its own, or beside what it measures (``keystone``: each Rally beside the
    Keystone that it loads)."""
    reset: Literal["scenario", "run", "never"] = "scenario"
    """When Keystone's database is made anew: before each scenario, once before the run, or never."""
    max_failure_percent: float = Field(default=0.0, ge=0, le=100)
    """SLA: more failed iterations than this, and the command ends with an error (results are kept)."""
    http_timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait for one HTTP answer of Keystone."""
    scenario_timeout_s: float = Field(default=3600.0, gt=0)
    """A load that lasts longer is stopped and recorded as failed; what had ended is kept."""

    @field_validator("scenarios")
    @classmethod
    def _once_each(cls, names: list[str]) -> list[str]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'{name}' is listed twice; samples of a run are told apart by the scenario's name")
        return names

    @model_validator(mode="after")
    def _something_is_measured(self) -> Bench:
        lasts_s, key = load_s(self)
        if lasts_s is not None and self.warm_up_s >= lasts_s:
            raise ValueError(
                f"`warm_up_s`, {self.warm_up_s:g}, leaves nothing to measure: {key} makes a load of {lasts_s:g} s"
            )
        if self.warm_up_s >= self.scenario_timeout_s:
            raise ValueError(
                f"`warm_up_s`, {self.warm_up_s:g}, leaves nothing to measure: "
                f"`scenario_timeout_s` ends each scenario after {self.scenario_timeout_s:g} s"
            )
        if lasts_s is not None and lasts_s > self.scenario_timeout_s:
            raise ValueError(
                f"{key} makes a load of {lasts_s:g} s, but `scenario_timeout_s` would end it after "
                f"{self.scenario_timeout_s:g} s; raise `scenario_timeout_s`"
            )
        return self


def load_s(bench: Bench) -> tuple[float | None, str]:
    """How long iterations are started for, when the runner tells, and the keys that tell it."""
    runner = bench.runner
    if isinstance(runner, ConstantForDuration):
        return runner.duration_s, "`runner.duration_s`"
    if isinstance(runner, OpenLoop):
        if runner.duration_s is not None:
            return runner.duration_s, "`runner.duration_s`"
        return bench.times / runner.rate_per_s, "`times` at `runner.rate_per_s`"
    if isinstance(runner, Rps):
        return bench.times / runner.rps, "`times` at `runner.rps`"
    return None, ""
