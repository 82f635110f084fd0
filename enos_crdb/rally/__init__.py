"""Rally: its scenarios, its task files, the clients that run them, and what they bring back."""

from enos_crdb.config.scenarios import RALLY_OPENSTACK, SCENARIOS, STUDY_2018, Scenario
from enos_crdb.rally.pace import in_windows, pace
from enos_crdb.rally.results import ITERATION, receive, samples
from enos_crdb.rally.task import (
    clients,
    environment,
    prepare_variables,
    rally_task,
    run_variables,
)

__all__ = [
    "ITERATION",
    "RALLY_OPENSTACK",
    "SCENARIOS",
    "STUDY_2018",
    "Scenario",
    "clients",
    "environment",
    "in_windows",
    "pace",
    "prepare_variables",
    "rally_task",
    "receive",
    "run_variables",
    "samples",
]
