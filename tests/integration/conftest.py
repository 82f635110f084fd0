"""Fixtures of the tests on real hosts."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engine import Engine
from tests.integration.interruptions import LOCAL, interrupted_while_ansible_runs
from tests.integration.machines import skip_without_hosts
from tests.integration.shared import Shared, as_it_was, shared

PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory for hosts. It is kept after a failure.

    Not pytest's own: later sessions empty those, also below hosts that a killed session left running.
    """
    name = re.sub(r"\W+", "-", request.node.name)[:40]
    path = Path(tempfile.mkdtemp(prefix=f"enos_crdb-{name}-", dir="/var/tmp"))
    yield path
    if request.node.stash.get(PASSED, False) and str(path) not in Path("/proc/mounts").read_text():
        shutil.rmtree(path)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """enos_crdb with a results directory of its own; what a test leaves is destroyed."""
    skip_without_hosts()
    engine = Engine(tmp_path / "results")
    yield engine
    if (engine.results / "current").exists() and not engine.state["destroyed_at"]:
        engine.run("destroy")


@pytest.fixture(scope="session")
def postgresql_deployment(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """PostgreSQL and Keystone on one host, Rally on another; its `deploy` was interrupted twice, and continued."""
    skip_without_hosts()
    with shared(request.session, LOCAL, begin=interrupted_while_ansible_runs) as made:
        yield made


@pytest.fixture
def pair(postgresql_deployment: Shared) -> Iterator[Shared]:
    """The deployment on PostgreSQL, for tests in the group ``postgresql``; it must be left as it is found."""
    with as_it_was(postgresql_deployment):
        yield postgresql_deployment


@pytest.fixture(scope="session")
def galera_deployment(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """Three Galera nodes with a Keystone each, and Rally on another host."""
    skip_without_hosts()
    with shared(request.session, "configs/local-galera.yaml") as made:
        yield made


@pytest.fixture
def trio(galera_deployment: Shared) -> Iterator[Shared]:
    """The deployment on Galera, for tests in the group ``galera``; it must be left as it is found."""
    with as_it_was(galera_deployment):
        yield galera_deployment
