"""What is stored: runs, campaigns, and their samples as one table."""

from enos_crdb.loading.names import named, run_of
from enos_crdb.loading.points import points
from enos_crdb.loading.stored import (
    Found,
    Skipped,
    StoredCampaign,
    StoredRun,
    campaign,
    directories,
    find,
    runs,
    said,
    stand_in,
)
from enos_crdb.loading.tables import load

__all__ = [
    "Found",
    "Skipped",
    "StoredCampaign",
    "StoredRun",
    "campaign",
    "directories",
    "find",
    "load",
    "named",
    "points",
    "run_of",
    "runs",
    "said",
    "stand_in",
]
