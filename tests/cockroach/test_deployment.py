"""configs/local-cockroachdb.yaml from beginning to end, on hosts of this machine."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from enos_crdb.command import SubprocessRunner
from enos_crdb.providers.nspawn.prerequisites import missing
from tests.cockroach.verdicts import Executable
from tests.integration.engine import ROOT, Engine

pytestmark = [pytest.mark.cockroach, pytest.mark.nspawn]

Saw = Callable[[str], None]


@pytest.fixture
def engine(scratch: Path) -> Engine:
    lacks = [str(lack) for lack in missing(SubprocessRunner(), suite="bookworm") if lack.package is None]
    if lacks:
        pytest.skip("; ".join(lacks))
    return Engine(scratch / "results")


@pytest.mark.decides("local-cockroachdb-yaml")
def test_the_shipped_experiment(executable: Executable, engine: Engine, saw: Saw) -> None:
    options = ["--set", f"database.binary={executable.path}", "--set", f"database.version={executable.build_tag}"]
    file = str(ROOT / "configs" / "local-cockroachdb.yaml")
    try:
        engine.run("run", "--env", file, *options, timeout_s=3600)
        assert engine.run("deploy", "--env", file, *options, timeout_s=1800).status == 0
        assert engine.changed() == {}, "a second deployment changed something"
        run = engine.run_directory()
        with (run / "summary.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        failed = [row for row in rows if row.get("failures", "0") not in ("0", "")]
        saw(f"{len(rows)} scenarios, {len(failed)} with failures")
        assert rows
        assert not failed, failed[:2]
        problems = [path.read_text() for path in run.rglob("problems.json")]
        assert problems
        assert all(json.loads(text) == [] for text in problems), problems
    finally:
        if (engine.results / "current").exists():
            engine.run("destroy", timeout_s=600)
