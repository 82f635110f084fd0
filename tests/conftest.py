"""The order of files when tests run side by side (`invoke test`): what takes longest begins first."""

from __future__ import annotations

import pytest

LONGEST_FIRST = (
    "test_wire_double.py",
    "test_suites.py",
    "test_experiments.py",
    "test_standin.py",
    "test_devstack.py",
    "test_main_job.py",
    "test_grid5000.py",
    "test_interruption.py",
    "test_campaign.py",
    "test_faults.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist
        items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """The files above, then other real deployments, then what takes seconds and fills the gaps at the end."""
    if item.path.name in LONGEST_FIRST:
        return LONGEST_FIRST.index(item.path.name)
    slow = item.get_closest_marker("nspawn") or item.get_closest_marker("keystone")
    return len(LONGEST_FIRST) + (0 if slow else 1)
