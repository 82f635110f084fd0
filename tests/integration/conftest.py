"""Fixtures of the tests on real hosts."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from enos_crdb.command import SubprocessRunner
from enos_crdb.providers.nspawn.prerequisites import missing
from tests.integration.engine import Engine

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
    hopeless = [lack for lack in missing(SubprocessRunner(), suite="bookworm") if lack.package is None]
    if hopeless:
        pytest.skip("; ".join(map(str, hopeless)))
    engine = Engine(tmp_path / "results")
    yield engine
    if (engine.results / "current").exists() and not engine.state["destroyed_at"]:
        engine.run("destroy")
