"""The summary of a run, from its directory alone: a table for the terminal and ``summary.csv``."""

from __future__ import annotations

from enos_crdb.summary.contents import Summary, summarise, summary_of
from enos_crdb.summary.forms import table, write_csv
from enos_crdb.summary.rows import Row, headlines

__all__ = ["Row", "Summary", "headlines", "summarise", "summary_of", "table", "write_csv"]
