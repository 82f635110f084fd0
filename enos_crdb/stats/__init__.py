"""From samples to numbers that can be published. Values only."""

from enos_crdb.stats.samples import COLUMNS, ITERATION, frame, read, write
from enos_crdb.stats.summaries import Statistics, statistics

__all__ = ["COLUMNS", "ITERATION", "Statistics", "frame", "read", "statistics", "write"]
