"""A page about runs, from the store alone: offline, and twice the same bytes."""

from __future__ import annotations

from enos_crdb.report.contents import write
from enos_crdb.report.material import Material, collect

__all__ = ["Material", "collect", "write"]
