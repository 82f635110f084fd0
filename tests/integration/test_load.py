"""The load on real hosts: an open loop that Keystone can and cannot follow, Rally's places, Keystone's cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from enos_crdb import stats
from tests.integration.engine import Engine
from tests.integration.shared import Shared

pytestmark = pytest.mark.nspawn

SCENARIO = "keystone/authenticate-user-and-validate-token"
FILE = "configs/local.yaml"


def bench(engine: Engine, *sets: str, status: int = 0) -> str:
    overrides = [word for item in sets for word in ("--set", f"bench.{item}")]
    return engine.run("bench", "keystone", "--scenario", SCENARIO, *overrides, status=status).output


def open_loop(rate_per_s: float, duration_s: float) -> str:
    return f"runner={{type: open_loop, rate_per_s: {rate_per_s}, duration_s: {duration_s}}}"


def manifest(engine: Engine) -> dict[str, Any]:
    return dict(json.loads((engine.run_directory() / "manifest.json").read_text()))


def rows(engine: Engine, metric: str) -> pd.DataFrame:
    table = stats.read(engine.run_directory() / "samples.csv")
    return table[table["metric"] == metric].set_index("iteration").sort_index()


def round_trips(engine: Engine) -> float:
    """Per iteration, between Keystone and its database."""
    (counters,) = engine.run_directory().glob("hosts/*/keystone_counters/*.json")
    found = json.loads(counters.read_text())
    grown = found["after"]["total"]["round_trips"] - found["before"]["total"]["round_trips"]
    return float(grown / len(rows(engine, "iteration")))


@pytest.mark.deep
@pytest.mark.xdist_group("postgresql")
def test_an_open_loop_intends_its_starts(pair: Shared) -> None:
    """How late they are is measured when nothing runs beside (deep)."""
    shown = bench(pair, open_loop(4.0, 4.0), "concurrency=8", "warm_up_s=2")
    whole, response = rows(pair, "iteration"), rows(pair, "response")
    assert len(whole) == len(response) == 16, "nothing that was intended is left out"
    assert response["intended_at"].diff().dropna().between(0.2499, 0.2501).all()
    assert (response["value"] >= whole["value"]).all()
    assert (response["value"] - whole["value"]).to_numpy() == pytest.approx(
        (whole["started_at"] - whole["intended_at"]).to_numpy(), abs=1e-4
    )
    assert list(whole["window"]) == ["warm-up"] * 8 + ["steady"] * 8
    assert "8 iterations of the first 2 s (warm-up)" in shown
    assert round_trips(pair) > 10


@pytest.mark.deep
@pytest.mark.alone
@pytest.mark.destructive
def test_the_load_and_what_keystone_remembers(engine: Engine) -> None:
    engine.run("deploy", "--env", FILE)
    an_open_loop_that_keystone_follows(engine)
    between_requests = round_trips(engine)
    an_open_loop_that_keystone_cannot_follow(engine)
    an_open_loop_that_is_stopped(engine)
    a_keystone_that_hangs_costs_no_sample(engine)

    refused = bench(engine, "placement=keystone", status=7)
    assert "Rally is not installed on database-1" in refused
    added = ("--set", "bench.placement=keystone")
    engine.run("deploy", "--env", FILE, *added, "--set", "openstack.keystone.cache=request")
    rally_beside(engine, "keystone")
    within_a_request = round_trips(engine)
    engine.run("deploy", "--env", FILE, *added, "--set", "openstack.keystone.cache=none")
    rally_beside(engine, "database")
    assert 4 * between_requests < within_a_request < 0.5 * round_trips(engine)


def an_open_loop_that_keystone_follows(engine: Engine) -> None:
    shown = bench(engine, open_loop(4.0, 6.0), "concurrency=8", "warm_up_s=2")
    whole, response = rows(engine, "iteration"), rows(engine, "response")
    assert len(whole) == len(response) == 24
    gaps = response["intended_at"].diff().dropna()
    assert gaps.between(0.2499, 0.2501).all()
    assert (response["value"] >= whole["value"]).all()
    assert (response["value"] - whole["value"]).median() < 0.02, "a free slot starts at once"
    assert (response["value"] - whole["value"]).to_numpy() == pytest.approx(
        (whole["started_at"] - whole["intended_at"]).to_numpy(), abs=1e-4
    )
    assert list(whole["window"]) == ["warm-up"] * 8 + ["steady"] * 16
    assert "8 iterations of the first 2 s (warm-up)" in shown
    load = manifest(engine)["scenarios"][0]["load"]
    assert load["started_per_s"] == pytest.approx(4.0, rel=0.05)
    assert "were started" not in shown


def an_open_loop_that_keystone_cannot_follow(engine: Engine) -> None:
    """Some 15 to 30 iterations a second are what two cores can do."""
    shown = bench(engine, open_loop(90.0, 2.0), "concurrency=6")
    whole, response = rows(engine, "iteration"), rows(engine, "response")
    assert len(whole) == 180, "nothing that was intended is left out"
    waits = response["value"] - whole["value"]
    assert waits.iloc[:6].median() < 0.5, "the first ones find free slots"
    assert waits.iloc[-10:].median() > 1.0, "what waits is in the latency, and grows"
    assert manifest(engine)["scenarios"][0]["load"]["most_in_flight"] == 6
    assert "of 90 iterations a second were started: as many as `concurrency` allows (6)" in " ".join(shown.split())


def an_open_loop_that_is_stopped(engine: Engine) -> None:
    shown = " ".join(bench(engine, open_loop(90.0, 2.0), "concurrency=4", "scenario_timeout_s=3", status=6).split())
    never = 180 - len(rows(engine, "iteration"))
    assert manifest(engine)["scenarios"][0]["clients"][0]["intended"] == 180
    assert 30 < never < 180
    assert f"{never} of 180 iterations that were meant to start never did" in shown


FREEZE = """\
nohup setsid sh -c '
until ss -Htn state established "( sport = :5000 )" | grep -q . ; do sleep 0.1; done
sleep 8
systemctl kill --signal=STOP keystone.service
' > /dev/null 2>&1 &"""
"""Keystone stops answering some seconds after Rally has come to it."""


def a_keystone_that_hangs_costs_no_sample(engine: Engine) -> None:
    engine.on("database-1", FREEZE)
    load = ("runner={type: constant_for_duration, duration_s: 14.0}", "concurrency=2")
    shown = bench(engine, *load, "http_timeout_s=5", "scenario_timeout_s=15", status=6)
    engine.on("database-1", "systemctl kill --signal=CONT keystone.service")
    assert "timeout: stopped after 15 s" in shown
    found = rows(engine, "iteration")
    failed = found[found["outcome"] == "failed"]
    assert len(found) - len(failed) > 10
    assert len(failed) >= 2
    assert failed["value"].max() < 2 * 5 + 2, "an answer is awaited no longer than asked"


def rally_beside(engine: Engine, placement: str) -> None:
    shown = bench(engine, f"placement={placement}", "times=4", "concurrency=2")
    assert "Rally shared database-1 with what it measured" in shown
    (client,) = manifest(engine)["clients"]
    assert (client["rally"], client["keystone"]) == ("database-1", "database-1")
    assert (rows(engine, "iteration")["outcome"] == "ok").all()
    assert (Path(engine.run_directory()) / "hosts" / "database-1" / "usage.csv").exists()
