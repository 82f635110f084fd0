"""What is stored: runs, campaigns, and their samples as one table."""

from enos_crdb.loading.points import points
from enos_crdb.loading.stored import (
    CAMPAIGNS,
    Found,
    Skipped,
    StoredCampaign,
    StoredRun,
    campaign,
    directories,
    find,
    runs,
    stand_in,
)
from enos_crdb.loading.tables import load

__all__ = [
    "CAMPAIGNS",
    "Found",
    "Skipped",
    "StoredCampaign",
    "StoredRun",
    "campaign",
    "directories",
    "find",
    "load",
    "points",
    "runs",
    "stand_in",
]
