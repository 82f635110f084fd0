"""Fixtures of the tests on real hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enos_crdb.command import SubprocessRunner
from enos_crdb.providers.nspawn.prerequisites import missing
from tests.integration.engine import Engine


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
