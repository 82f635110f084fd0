"""The experiment: what is compared, how often, in which order, and for how long. One document, YAML or Python."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from enos_crdb.config.base import Section
from enos_crdb.config.loading import split

Label = str | int | float | bool
"""What a level is called: itself when it is a single value, else the text it was given."""


def _levels(value: Any) -> Any:
    if not isinstance(value, list | dict):
        raise ValueError("expected a list of values, or a mapping of labels to what they stand for")
    if not value:
        raise ValueError("a factor needs at least one level")
    if isinstance(value, list):
        for level in value:
            if not isinstance(level, Label) or (isinstance(level, float) and not math.isfinite(level)):
                raise ValueError(
                    f"a level that is listed must be a single value, found {level!r}; give others a label: "
                    "`levels: {label: value}`"
                )
    elif strange := [label for label in value if not isinstance(label, str)]:
        raise ValueError(f"the label of a level is text: put {said(strange[0])} in quotes")
    labels = [said(level) for level in value]
    for label in labels:
        if not label.strip() or re.search(r"[,=\n]", label):
            raise ValueError(
                f"'{label}' cannot be the label of a level: it must be text without ',', '=' and new lines"
            )
        if labels.count(label) > 1 or (isinstance(value, list) and value.count(value[labels.index(label)]) > 1):
            raise ValueError(f"the level '{label}' is listed twice")
    return value


def said(label: Label) -> str:
    """A label as YAML writes it: ``true``, ``50``, ``0.5``, ``read committed``."""
    if isinstance(label, bool):
        return str(label).lower()
    return f"{label:g}" if isinstance(label, float) else str(label)


class Author(Section):
    """A person to cite."""

    name: str = Field(min_length=1)
    """Full name."""
    orcid: str | None = Field(default=None, pattern=r"^\d{4}-\d{4}-\d{4}-\d{3}[\dX]$")
    """ORCID iD."""
    affiliation: str | None = None
    """University, institute or company."""


class Factor(Section):
    """A parameter that is varied. Without ``path``, each level is a mapping of several key paths to their values."""

    path: str | None = None
    """Key path in the configuration (``bench.load``, ``emulation.constraints.0.delay_ms``)."""
    levels: Annotated[Any, AfterValidator(_levels)]
    """A list of single values, or a mapping of labels to values (or, without ``path``, to mappings of key paths)."""

    @model_validator(mode="after")
    def _levels_have_paths(self) -> Factor:
        if self.path is None:
            if isinstance(self.levels, list):
                raise ValueError("`path` is missing: values that are listed need the key path that they are put at")
            for label, values in self.levels.items():
                if not isinstance(values, Mapping) or not values or not all(map(split, map(str, values))):
                    raise ValueError(
                        f"level '{label}' must map key paths of the configuration to values "
                        "(or give the factor a `path`)"
                    )
        elif not split(self.path):
            raise ValueError("`path` is empty; write a key path of the configuration, like bench.load")
        return self

    def assignments(self) -> dict[Label, dict[str, Any]]:
        """What each level puts where, in the order of the document."""
        if isinstance(self.levels, list):
            return {level: {str(self.path): level} for level in self.levels}
        return {label: dict(value) if self.path is None else {self.path: value} for label, value in self.levels.items()}


class Repetitions(Section):
    """How often each combination is deployed and run. The iterations of a scenario are ``bench.times``."""

    deployments: int = Field(default=1, ge=1, le=1000)
    """Deployments of each combination, each from scratch. Only these randomise backends against time."""
    runs: int = Field(default=3, ge=1, le=1000)
    """Runs of each combination on each of its deployments."""


class Adaptive(Section):
    """Additional runs: as many as the first ones say give a narrow confidence interval, or up to a limit."""

    relative_width: float = Field(default=0.1, gt=0, lt=10)
    """The interval that is wanted, as a share of the value: 0.1 is about plus or minus 5 %."""
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    """Confidence level of the interval."""
    most_runs: int = Field(default=10, ge=2, le=1000)
    """Most runs per combination, including those of ``repetitions``. A combination whose interval is still too wide
    then is called unstable."""
    metric: str = Field(default="p50", pattern=r"^(mean|p\d{1,2}(\.\d+)?)$")
    """Which value of the iterations' durations, per scenario: ``mean``, or a percentile such as ``p50`` or ``p95``."""


class Retries(Section):
    """How many more attempts a run gets after a fault that its combination did not cause."""

    network: int = Field(default=1, ge=0, le=10)
    """The emulated network was not what was asked for."""
    hosts: int = Field(default=1, ge=0, le=10)
    """Hosts were not available, or no longer answered."""
    deployment: int = Field(default=1, ge=0, le=10)
    """Installation or configuration failed."""
    reset: int = Field(default=1, ge=0, le=10)
    """The reset of Keystone's database did not restore the state of a fresh deployment."""


class Budget(Section):
    """What one call may use. The campaign ends before a run that does not fit; ``--resume`` starts a new budget."""

    hours: float | None = Field(default=None, gt=0)
    """Most hours that one call may take; by default there is no limit."""


class Ending(Section):
    """What happens to the hosts when the campaign stops."""

    at_end: Literal["destroy", "keep"] = "destroy"
    """When all runs are done."""
    on_interrupt: Literal["keep", "destroy"] = "keep"
    """After Ctrl-C, or when the budget is used up. ``--resume`` continues on hosts that were kept."""


class Experiment(Section):
    """A study: a configuration, the factors that vary it, and how often each combination is run."""

    experiment: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,37}$")
    """Name; its campaigns are stored in ``campaigns/<name>-<time>``."""
    title: str = ""
    """Title for people."""
    description: str = ""
    """What the experiment examines, in a few sentences."""
    authors: list[Author] = []
    """Persons to cite."""
    licence: str | None = None
    """Licence of the data, as an SPDX identifier (``CC-BY-4.0``)."""
    doi: str | None = None
    """DOI of the data."""
    keywords: list[str] = []
    """Keywords for catalogues."""
    configuration: str | dict[str, Any]
    """The base of every combination: the path of a deployment file (relative to this file, or the name of a shipped
    one), or its content."""
    factors: dict[str, Factor] = {}
    """The parameters that are varied, by name."""
    exclude: list[dict[str, Any]] = []
    """Combinations to leave out: those with all levels of an entry (``{backend: mariadb, sites: ["9", "45"]}``)."""
    repetitions: Repetitions = Repetitions()
    seed: int = Field(default=1, ge=0)
    """Seed of the random order of runs."""
    adaptive: Adaptive | None = None
    retries: Retries = Retries()
    budget: Budget = Budget()
    hosts: Ending = Ending()
    short: dict[str, Any] = {}
    """Values that replace those of this document in the small variant (``--short``). Mappings are merged; ``null``
    removes a key."""

    _source: str = PrivateAttr(default="the experiment")
    _places: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def source(self) -> str:
        """Where it was written, for complaints."""
        return self._source

    @property
    def places(self) -> Mapping[str, str]:
        """Key path -> ``file:line``, or the option that set it."""
        return self._places

    def written(self, source: str, places: Mapping[str, str]) -> Experiment:
        """The same, told where it was written."""
        self._source, self._places = source, places
        return self

    @model_validator(mode="after")
    def _names_are_plain(self) -> Experiment:
        for name in self.factors:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
                raise ValueError(f"factors: '{name}' cannot be the name of a factor; use letters, digits, '_' and '-'")
        return self

    @model_validator(mode="after")
    def _factors_do_not_overlap(self) -> Experiment:
        owners: dict[tuple[str, ...], str] = {}
        for name, factor in self.factors.items():
            for path in dict.fromkeys(split(p) for values in factor.assignments().values() for p in values):
                for other, owner in owners.items():
                    shared = min(len(path), len(other))
                    if owner != name and path[:shared] == other[:shared]:
                        raise ValueError(
                            f"factors.{name}: '{'.'.join(path)}' is also decided by the factor '{owner}' "
                            f"('{'.'.join(other)}'); let one factor set it, with a level per pair if need be"
                        )
                owners[path] = name
        return self

    @model_validator(mode="after")
    def _adaptive_leaves_room(self) -> Experiment:
        asked = self.repetitions.deployments * self.repetitions.runs
        if self.adaptive and self.adaptive.most_runs < asked:
            raise ValueError(
                f"adaptive.most_runs: {self.adaptive.most_runs} is below the {asked} runs that `repetitions` ask for "
                "(deployments x runs); raise it, or leave `adaptive` out"
            )
        return self
