"""The short variants of the experiments that are shipped, on real hosts.

All of them are planned and validated in tests/unit/test_sweep.py. Here those in `ALWAYS` are executed; all, or others,
with ENOS_CRDB_EXPERIMENTS=all, or by name: ENOS_CRDB_EXPERIMENTS=study_2018.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from enos_crdb import loading
from enos_crdb.campaign import Campaign, load_experiment, plan, shipped_experiments
from tests.integration.engine import Engine

pytestmark = [pytest.mark.nspawn, pytest.mark.deep, pytest.mark.destructive]

ALWAYS = ("cache_and_hash", "cluster_size_impact", "locality", "read_write_ratio")
"""latency_impact is executed by the notebook; the study of 2018 takes the longest, and its parts are in the others."""
WANTED = os.environ.get("ENOS_CRDB_EXPERIMENTS", ",".join(ALWAYS)).split(",")


def chosen(name: str) -> Any:
    wanted = name in WANTED or WANTED == ["all"]
    return pytest.param(name, marks=pytest.mark.skipif(not wanted, reason="ENOS_CRDB_EXPERIMENTS does not name it"))


@pytest.mark.parametrize("name", [chosen(name) for name in shipped_experiments()])
def test_the_short_variant_of_an_experiment_runs(engine: Engine, name: str) -> None:
    engine.run("campaign", name, "--short", timeout_s=1200)
    (directory,) = (engine.results / "campaigns").iterdir()
    done = Campaign(directory)
    assert done.finished
    assert {entry["status"] for entry in done.entries} == {"ok"}
    planned = plan(load_experiment(name, short=True))
    table = loading.load(directory)
    assert set(table["combination"]) == {combination.name for combination in planned.combinations}
    assert (table[table["metric"] == "iteration"].groupby("run", observed=True).size() >= 10).all()
