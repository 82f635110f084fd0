"""The ``bench`` section: which Rally scenarios, under which load."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from enos_crdb.config.base import Section
from enos_crdb.config.scenarios import STUDY_2018, known

ScenarioName = Annotated[str, AfterValidator(known)]


class Constant(Section):
    """Closed loop: ``concurrency`` clients until ``times`` iterations are done."""

    type: Literal["constant"] = "constant"


class ConstantForDuration(Section):
    """Closed loop for a duration. Rally does not back off: use this or ``rps`` when things may fail."""

    type: Literal["constant_for_duration"]
    duration_s: float = Field(gt=0)


class Rps(Section):
    """Open loop: ``rps`` iterations start every second, whatever the answers."""

    type: Literal["rps"]
    rps: float = Field(gt=0)


Runner = Annotated[Constant | ConstantForDuration | Rps, Field(discriminator="type")]


class Bench(Section):
    """What Rally runs against Keystone."""

    scenarios: list[ScenarioName] = Field(default=list(STUDY_2018), min_length=1)
    """Names as printed by ``enos_crdb scenarios``."""
    arguments: dict[ScenarioName, dict[str, Any]] = {}
    """Arguments of a scenario that replace ours, by scenario name."""
    times: int = Field(default=100, ge=1)
    """Iterations of each scenario, per Rally. Not used by ``constant_for_duration``."""
    concurrency: int = Field(default=10, ge=1)
    """Iterations in flight at once, per Rally. With ``rps``, the most there may ever be."""
    runner: Runner = Constant()
    projects: int = Field(default=1, ge=1)
    """Projects that Rally makes before the load, for scenarios that act as users."""
    users_per_project: int = Field(default=1, ge=1)
    """Users that Rally makes in each of those projects."""
    load: Literal["light", "heavy"] = "light"
    """``light``: one Rally against the first Keystone; ``heavy``: one per Keystone host, started together."""
    reset: Literal["scenario", "run", "never"] = "scenario"
    """When Keystone's database is made anew: before each scenario, once before the run, or never."""
    max_failure_percent: float = Field(default=0.0, ge=0, le=100)
    """SLA: more failed iterations than this, and the command ends with an error (results are kept)."""
    http_timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait for one HTTP answer of Keystone."""
    scenario_timeout_s: float = Field(default=3600.0, gt=0)
    """A Rally task that runs longer is stopped and recorded as failed."""

    @field_validator("scenarios")
    @classmethod
    def _once_each(cls, names: list[str]) -> list[str]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'{name}' is listed twice; samples of a run are told apart by the scenario's name")
        return names
