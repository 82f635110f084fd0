"""The network while it is loaded: what is watched, what the watcher writes, and what is made of it."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.synthetic import Synthetic, write_campaign
from enos_crdb import report
from enos_crdb.model import Host
from enos_crdb.network import probes
from enos_crdb.network.probes import Window
from enos_crdb.record import During, Expected, Tolerance
from enos_crdb.report.network import matrices
from tests.unit.role_files import PROGRAMS

SCENARIO = "keystone/get-entities"
WINDOW = Window(scenario=SCENARIO, begin=100.0, end=110.0)
TOLERANCE = Tolerance(percent=5.0, ms=1.0)
PAIR = {"src": "keystone-1", "dst": "database-1", "network": "database"}
EXPECTED = (Expected(**PAIR, rtt_ms=10.0),)


def host(name: str, *roles: str, number: int) -> Host:
    addresses = {"control": f"10.0.1.{number}", "database": f"10.0.2.{number}"}
    return Host(name=name, roles=roles, address=addresses["control"], addresses=addresses)


HOSTS = (
    host("database-1", "database", number=1),
    host("database-2", "database", "keystone", number=2),
    host("keystone-1", "keystone", number=3),
    host("rally-1", "rally", "load", number=4),
)


def test_the_ways_of_requests_and_sql_are_watched() -> None:
    found = {
        name: {(target["dst"], target["network"]) for target in targets}
        for name, targets in probes.watched(HOSTS).items()
    }
    assert found["database-1"] == {("database-2", "database")}
    assert found["database-2"] == {("database-1", "database"), ("rally-1", "control")}
    assert found["keystone-1"] == {("database-1", "database"), ("database-2", "database"), ("rally-1", "control")}
    assert found["rally-1"] == set(), "Rally's host keeps time, and nothing else"
    single = [replace(one, addresses=dict.fromkeys(one.addresses, one.address)) for one in HOSTS]
    assert {target["network"] for target in probes.watched(single)["keystone-1"]} == {"database"}


def written(path: Path, *rows: tuple[float, str, object], torn: str = "") -> Path:
    """A file of keystone-1: (time, what, value); what is a host, or a counter."""
    text = "time,dst,network,value\n"
    for at, what, value in rows:
        text += f"{at},{what},database,{value}\n" if "-" in what else f"{at},,{what},{value}\n"
    path.write_text(text + torn)
    return path


def answers(*rtt_ms: float | None, begin: float = 100.0) -> list[tuple[float, str, object]]:
    return [(begin + index * 0.1, "database-1", "" if value is None else value) for index, value in enumerate(rtt_ms)]


def of_one(path: Path) -> During:
    (found,) = probes.during({"keystone-1": path}, [WINDOW], EXPECTED, TOLERANCE)
    return found


def said(path: Path, loss: float = 0.0) -> tuple[str, ...]:
    key = (PAIR["src"], PAIR["dst"], PAIR["network"])
    return probes.judge([of_one(path)], loss={key: loss} if loss else {})


def test_only_what_was_seen_under_load_counts(tmp_path: Path) -> None:
    before, after = answers(0.1, begin=99.0), answers(0.1, begin=110.5)
    path = written(tmp_path / "p", *before, *answers(10.0, 11.0, 12.0, None), *after, torn="101.0,database-1")
    (trip,) = of_one(path).trips
    assert (trip.samples, trip.lost, trip.min_ms, trip.p50_ms) == (3, 1, 10.0, 11.0)
    assert probes.during({"keystone-1": tmp_path / "absent"}, [WINDOW], EXPECTED, TOLERANCE)[0].trips == ()


def test_a_network_as_expected_is_no_deviation(tmp_path: Path) -> None:
    slow = [10.1] * 40 + [80.0] * 40
    assert said(written(tmp_path / "p", *answers(*slow))) == (), "what is slow under load may be the load"


def test_answers_that_no_distance_would_allow_are_a_deviation(tmp_path: Path) -> None:
    """A delayer that was dead for a third of the load, and back at its end; medians do not see it."""
    (sentence,) = said(written(tmp_path / "p", *answers(*[10.2] * 30, *[0.1] * 20, *[10.2] * 40)))
    assert sentence.startswith(f"during {SCENARIO}: keystone-1 to database-1 on database")
    assert "20 of 90 round trips were faster than the emulated distance allows (the fastest 0.10 ms)" in sentence
    assert said(written(tmp_path / "q", *answers(*[10.2] * 60, 0.1))) == (), "one may be a measurement gone wrong"


def test_losses_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "p", *answers(*[10.0, 10.0, 10.0, None] * 20))
    (sentence,) = said(path)
    assert "20 of 80 answers were lost" in sentence
    assert said(path, loss=0.25) == (), "as was asked for"


def test_a_host_that_is_gone_is_no_network_that_loses(tmp_path: Path) -> None:
    counted = [(100.1, "sent", 0), (109.9, "sent", 900), (100.1, "retransmitted", 0), (109.9, "retransmitted", 300)]
    late = answers(*[10.0] * 30, *[None] * 20, *[10.0] * 30)
    path = written(tmp_path / "p", *counted, *sorted(late, key=lambda row: row[2] == ""))
    (trip,) = of_one(path).trips
    assert (trip.samples, trip.lost, trip.silent) == (60, 0, 20)
    assert said(path) == ()


@pytest.mark.parametrize(("again", "expected"), [(0, False), (9, False), (60, True)])
def test_segments_that_are_sent_again_betray_a_loss(tmp_path: Path, again: int, expected: bool) -> None:
    counted = [(100.1, "sent", 5000), (100.1, "retransmitted", 7), (109.9, "sent", 9000)]
    path = written(tmp_path / "p", *counted, (109.9, "retransmitted", 7 + again))
    assert of_one(path).retransmitted == {"keystone-1": (again, 4000)}
    assert bool(said(path)) is expected
    assert said(path, loss=0.01) == ()


@pytest.mark.parametrize(("mean_ms", "expected"), [(650.0, False), (560.0, False), (120.0, True)])
def test_iterations_cannot_be_shorter_than_their_round_trips(mean_ms: float, expected: bool) -> None:
    window = Window(scenario=SCENARIO, begin=0, end=1, iterations=40, mean_ms=mean_ms)
    trips = {("keystone-1", "database-1", "database"): 40 * 60}
    said = probes.impossible(window, trips, EXPECTED)
    assert bool(said) is expected
    if said:
        assert "took 120 ms, and their 60 round trips to the database alone take 600 ms" in said
    assert not probes.impossible(window, {**trips, ("keystone-2", "database-1", "database"): 1}, EXPECTED), "not known"
    assert not probes.impossible(replace(window, iterations=0), trips, EXPECTED)


def test_the_page_shows_the_network_under_load(tmp_path: Path) -> None:
    campaign = write_campaign(tmp_path, combinations=[Synthetic()], runs=1, iterations=20, scenarios=(SCENARIO,))
    (path,) = tmp_path.glob("*/runs/*/manifest.json")
    manifest = json.loads(path.read_text())
    seen = {
        **PAIR,
        "samples": 99,
        "lost": 1,
        "min_ms": 9.0,
        "p10_ms": 10.0,
        "p50_ms": 11.0,
        "p90_ms": 12.0,
        "too_fast": 0,
    }
    manifest["network"]["during"] = [
        {"scenario": SCENARIO, "trips": [seen], "retransmitted": {"keystone-1": [3, 1000], "database-1": [0, 2000]}}
    ]
    path.write_text(json.dumps(manifest))
    tables = {table.name: table for table in matrices(report.collect([campaign])).tables}
    (row,) = tables["round-trips-under-load"].rows
    assert (row["between"], row["p10_ms"], row["p50_ms"], row["p90_ms"]) == ("database - keystone", 10.0, 11.0, 12.0)
    assert (row["lost_percent"], row["resent_percent"]) == pytest.approx((1.0, 0.1))


# The program


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PROGRAMS))
    return importlib.import_module("probe")


def test_what_the_program_writes_is_what_is_read(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against this machine; an address that nobody has gives nothing back."""
    handlers: list[Callable[..., Any]] = []
    monkeypatch.setattr(program.signal, "signal", lambda number, handler: handlers.append(handler))
    path = tmp_path / "probes.csv"
    near = {"dst": "database-1", "network": "database", "source": "127.0.0.1", "address": "127.0.0.2"}
    far = {**near, "dst": "database-2", "source": "192.0.2.7"}
    request = {"targets": [{**near, "patience_s": 1.0}, {**far, "patience_s": 1.0}], "interval_s": 0.02}
    Path(f"{path}.json").write_text(json.dumps(request))
    begin = time.time()
    thread = threading.Thread(target=program.run, args=(str(path),))
    thread.start()
    while not handlers or time.time() < begin + 0.5:
        time.sleep(0.01)
    handlers[0](15, None)
    thread.join(10)
    window = Window(scenario="s", begin=begin, end=time.time())
    (found,) = probes.during({"keystone-1": path}, [window], (), TOLERANCE)
    first, second = sorted(found.trips, key=lambda trip: trip.dst)
    assert (first.dst, first.lost) == ("database-1", 0)
    assert 10 <= first.samples <= 30
    assert first.p50_ms is not None
    assert 0 < first.p50_ms < 50
    assert (second.dst, second.samples) == ("database-2", 0)
    assert second.silent == pytest.approx(first.samples, abs=2)
    assert found.retransmitted["keystone-1"][1] >= first.samples / 2, "its own segments, at least"


def test_the_program_needs_nothing_but_its_neighbours() -> None:
    """It is copied to hosts whose Python has no packages of ours."""
    assert "round_trips" in sys.modules or (PROGRAMS / "round_trips.py").exists()
    source = (PROGRAMS / "probe.py").read_text()
    imported = {line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported - {"round_trips", "watcher", "__future__"} <= set(sys.stdlib_module_names)
