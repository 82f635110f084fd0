"""Experiments as values: factors, combinations, the order of runs, what they will take. Nothing is touched."""

from __future__ import annotations

from enos_crdb.sweep.combinations import Combination, deployment_key
from enos_crdb.sweep.document import (
    Adaptive,
    Author,
    Budget,
    Ending,
    Experiment,
    Factor,
    Label,
    Repetitions,
    Retries,
    said,
)
from enos_crdb.sweep.estimate import Clock, Estimate, Observed, estimate
from enos_crdb.sweep.loading import load, make
from enos_crdb.sweep.order import Item, repetition
from enos_crdb.sweep.plan import Plan, plan

__all__ = [
    "Adaptive",
    "Author",
    "Budget",
    "Clock",
    "Combination",
    "Ending",
    "Estimate",
    "Experiment",
    "Factor",
    "Item",
    "Label",
    "Observed",
    "Plan",
    "Repetitions",
    "Retries",
    "deployment_key",
    "estimate",
    "load",
    "make",
    "plan",
    "repetition",
    "said",
]
