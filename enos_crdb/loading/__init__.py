"""What is stored: runs, campaigns, and their samples as one table."""

from enos_crdb.loading.points import points
from enos_crdb.loading.stored import (
    Found,
    Skipped,
    StoredCampaign,
    StoredRun,
    campaign,
    directories,
    find,
    network_refused,
    runs,
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
    "network_refused",
    "points",
    "runs",
    "stand_in",
]
