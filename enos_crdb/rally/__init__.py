"""Rally: its scenarios, its task files, the clients that run them, and what they bring back."""

from enos_crdb.config.scenarios import RALLY_OPENSTACK, SCENARIOS, STUDY_2018, Scenario
from enos_crdb.rally.pace import in_windows, pace
from enos_crdb.rally.results import ITERATION, receive, samples
from enos_crdb.rally.task import (
    clients,
    directory,
    environment,
    job,
    longest_s,
    prepare_requests,
    rally_task,
    scenario_requests,
    start_lead_s,
)

__all__ = [
    "ITERATION",
    "RALLY_OPENSTACK",
    "SCENARIOS",
    "STUDY_2018",
    "Scenario",
    "clients",
    "directory",
    "environment",
    "in_windows",
    "job",
    "longest_s",
    "pace",
    "prepare_requests",
    "rally_task",
    "receive",
    "samples",
    "scenario_requests",
    "start_lead_s",
]
