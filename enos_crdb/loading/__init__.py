"""What is stored: runs, campaigns, and their samples as one table."""

from enos_crdb.loading.combinations import Group, combine, differing
from enos_crdb.loading.labels import labels, said
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
    stand_in,
)
from enos_crdb.loading.tables import load

__all__ = [
    "Found",
    "Group",
    "Skipped",
    "StoredCampaign",
    "StoredRun",
    "campaign",
    "combine",
    "differing",
    "directories",
    "find",
    "labels",
    "load",
    "named",
    "points",
    "run_of",
    "runs",
    "said",
    "stand_in",
]
