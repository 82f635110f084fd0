"""Which tests share a process when they run side by side (`invoke test`), and which groups begin first."""

from __future__ import annotations

import pytest

LONGEST_FIRST = (
    "postgresql",  # it makes what others find in the cache: the base image, wheels, layers
    "wire double",
    "galera",
    "test_interruption.py",
    "test_grid5000.py",
    "test_static.py",
    "test_nspawn.py",
)
"""Groups (``xdist_group``) and files that take minutes: what takes longest begins first."""


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))  # fixtures of a file are made once
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist
        items.sort(key=_place)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Groups that are not kept would make a deployment for each process, and only cost time: nobody would notice."""
    if session.config.getoption("loadgroup", False):
        lost = [item.nodeid for item in session.items if "@" not in item.nodeid]
        if lost:
            raise pytest.UsageError(f"pytest-xdist keeps no groups with this pytest ({pytest.__version__}): {lost[0]}")


def _place(item: pytest.Item) -> int:
    """The groups above, then other real deployments, then what takes seconds and fills the gaps at the end."""
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    if marker.args[0] in LONGEST_FIRST:
        return LONGEST_FIRST.index(marker.args[0])
    slow = item.get_closest_marker("nspawn") or item.get_closest_marker("keystone")
    return len(LONGEST_FIRST) + (0 if slow else 1)
