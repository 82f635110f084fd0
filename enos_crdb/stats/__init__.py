"""From samples to numbers that can be published. Values only."""

from enos_crdb.stats.effects import Effect, Interval, compare
from enos_crdb.stats.estimates import (
    Estimate,
    Runs,
    by_run,
    estimate,
    estimates,
    failure_share,
    failures,
    throughput,
    throughput_of,
    units_wanted,
)
from enos_crdb.stats.latency import Connection, Fit, LatencyModel, Point, Prediction, latency_model
from enos_crdb.stats.samples import COLUMNS, ITERATION, append, frame, read
from enos_crdb.stats.stability import Stability, stability
from enos_crdb.stats.summaries import Statistics, statistics

__all__ = [
    "COLUMNS",
    "ITERATION",
    "Connection",
    "Effect",
    "Estimate",
    "Fit",
    "Interval",
    "LatencyModel",
    "Point",
    "Prediction",
    "Runs",
    "Stability",
    "Statistics",
    "append",
    "by_run",
    "compare",
    "estimate",
    "estimates",
    "failure_share",
    "failures",
    "frame",
    "latency_model",
    "read",
    "stability",
    "statistics",
    "throughput",
    "throughput_of",
    "units_wanted",
]
