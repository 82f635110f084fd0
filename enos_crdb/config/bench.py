"""The ``bench`` section: which Rally scenarios, under which load."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from enos_crdb.config.base import Section
from enos_crdb.config.scenarios import STUDY_2018, known

ScenarioName = Annotated[str, AfterValidator(known)]


class Constant(Section):
    """Closed loop: ``concurrency`` clients until ``times`` iterations are done."""

    loop: ClassVar[str] = "closed"
    type: Literal["constant"] = "constant"


class ConstantForDuration(Section):
    """Closed loop for a duration. Rally does not wait after failures: use this or an open loop when they are likely."""

    loop: ClassVar[str] = "closed"
    type: Literal["constant_for_duration"]
    duration_s: float = Field(gt=0)
    """How long iterations are started for, in seconds."""


class Rps(Section):
    """Rally's own open loop: ``rps`` iterations start every second, whatever the answers. It reports no late starts."""

    loop: ClassVar[str] = "open"
    type: Literal["rps"]
    rps: float = Field(gt=0)
    """Iterations started per second, per Rally."""


class OpenLoop(Section):
    """Open loop with intended starts: the latency of an iteration includes the time it waits for earlier ones.

    At most ``concurrency`` iterations are in flight; beyond that, starts are late.
    """

    loop: ClassVar[str] = "open"
    type: Literal["open_loop"]
    rate_per_s: float = Field(gt=0)
    """Intended starts per second, per Rally."""
    duration_s: float | None = Field(default=None, gt=0)
    """How long iterations are started for, in seconds; without it, ``bench.times`` iterations are started."""
    arrivals: Literal["even", "poisson"] = "even"
    """``even``: equal intervals between starts; ``poisson``: random intervals, as from many independent users."""
    seed: int = Field(default=1, ge=0)
    """Seed of the random starts. The same seed gives the same starts; each Rally has starts of its own."""


Runner = Annotated[Constant | ConstantForDuration | Rps | OpenLoop, Field(discriminator="type")]


class Bench(Section):
    """What Rally runs against Keystone."""

    scenarios: list[ScenarioName] = Field(default=list(STUDY_2018), min_length=1)
    """Scenarios to run, by the names that ``enos_crdb scenarios`` lists."""
    arguments: dict[ScenarioName, dict[str, Any]] = {}
    """Arguments that replace the default ones, by scenario."""
    times: int = Field(default=100, ge=1)
    """Iterations of each scenario, per Rally. Not used by a runner with ``duration_s``."""
    concurrency: int = Field(default=10, ge=1)
    """Iterations in flight at once, per Rally. With ``rps`` and ``open_loop``, this is an upper limit."""
    runner: Runner = Constant()
    """How iterations are started; one of the kinds below."""
    warm_up_s: float = Field(default=0.0, ge=0)
    """Length of the warm-up, in seconds. Iterations that start in it are kept and marked, and count in no statistic."""
    steady_s: float | None = Field(default=None, gt=0)
    """Length of the steady window after the warm-up, in seconds; by default, the rest of the load."""
    projects: int = Field(default=1, ge=1)
    """Projects that Rally creates before the load, for scenarios that act as users."""
    users_per_project: int = Field(default=1, ge=1)
    """Users that Rally creates in each of those projects."""
    load: Literal["light", "heavy"] = "light"
    """``light``: one Rally against the first Keystone; ``heavy``: one per Keystone host, started together."""
    placement: Literal["rally", "keystone", "database"] = "rally"
    """Role of the hosts on which Rally runs: its own hosts (``rally``), or hosts that it measures. With ``keystone``,
    each Rally runs beside the Keystone that it loads."""
    reset: Literal["scenario", "run", "never"] = "scenario"
    """When Keystone's database is recreated: before each scenario, once before the run, or never."""
    max_failure_percent: float = Field(default=0.0, ge=0, le=100)
    """SLA: if more iterations fail, the command ends with an error. The results are kept."""
    http_timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait for one HTTP answer of Keystone, in seconds."""
    scenario_timeout_s: float = Field(default=3600.0, gt=0)
    """Longest load, in seconds. A longer one is stopped and recorded as failed; finished iterations are kept."""

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
