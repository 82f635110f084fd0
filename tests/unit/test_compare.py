"""Runs side by side: what may be compared, what is said of it, and the commands that say it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic import Synthetic, write_campaign
from enos_crdb import loading, report
from enos_crdb.__main__ import main
from enos_crdb.errors import ConfigurationError, StateError
from enos_crdb.report.comparison import Comparison, compare
from enos_crdb.report.effects import verdict
from enos_crdb.report.opening import warnings as warnings_of
from enos_crdb.stats import Effect, Interval

Call = Callable[..., object]
SCENARIOS = ("keystone/authenticate", "keystone/create-user")
FAST, SLOW = Synthetic(factors={"backend": "postgresql"}), Synthetic(backend="mariadb", service_ms=300.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every test gets a copy of."""
    place = tmp_path_factory.mktemp("results")
    write_campaign(place, combinations=[FAST, SLOW], runs=2, iterations=60, scenarios=SCENARIOS)
    return place


@pytest.fixture
def results(written: Path, tmp_path: Path) -> Path:
    """Two runs of one combination, and two of a slower one."""
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


def runs(results: Path) -> list[Path]:
    """In the order in which they were made."""
    return sorted(results.glob("*/runs/*"), key=lambda path: path.name)


def change(run: Path, **places: Any) -> None:
    """Replace values of a run's manifest; a place is a path with ``__`` between its parts."""
    manifest = json.loads((run / "manifest.json").read_text())
    for place, value in places.items():
        *way, last = place.split("__")
        inner = manifest
        for name in way:
            inner = inner[int(name) if name.isdigit() else name]
        inner[last] = value
    (run / "manifest.json").write_text(json.dumps(manifest))


def compared(*paths: Path, anyway: bool = False) -> Comparison:
    return compare(report.collect(paths), anyway=anyway)


MATTERS: Mapping[str, Mapping[str, Any]] = {
    "database-settings": {"configuration__database__settings": {"work_mem": "64MB"}},
    "durability": {"configuration__database__durable": False},
    "scenario-arguments": {"configuration__bench__arguments": {"keystone/create-user": {"enabled": False}}},
    "processors-of-hosts": {"configuration__machines__0__cpus": 1.0},
    "memory-of-hosts": {"configuration__machines__0__memory_mb": 512},
    "iterations": {"configuration__bench__times": 61},
    "keystone-options": {"configuration__openstack__keystone__settings": {"token": {"expiration": 60}}},
    "keystone-workers": {"configuration__openstack__keystone__workers": 3},
    "packages": {"versions": {"database-1": {"packages": {"libc6": "2.36-9+deb12u15"}}}},
    "kernel-of-a-host": {"versions": {"database-1": {"kernel": "6.1.0-40"}}},
    "the-machine": {"provenance__machine__cpus": 96},
    "the-engine": {"provenance__commit": "0123456789abcdef0123456789abcdef01234567"},
    "its-changes": {"provenance__dirty": True},
    "where-rally-is": {"clients__0__rally": "database-1"},
    "loss": {"network__constraints": [{"between": ["database", "keystone"], "delay_ms": 0.0, "loss_percent": 5.0}]},
    "where-a-host-is": {"hosts__0__site": "lyon"},
}
"""What was edited in one manifest, and is therefore no repetition of the other run any more."""
NOT_MATTERS: Mapping[str, Mapping[str, Any]] = {
    "name": {"configuration__name": "another"},
    "address": {"hosts__0__address": "10.200.0.7"},
    "tolerance": {"configuration__emulation__tolerance_ms": 3.0},
    "load-of-the-machine": {"provenance__machine__load_average": [3.0, 2.0, 1.0]},
    "libraries": {"provenance__libraries": {"rich": "99"}},
    "words": {"provenance__command": ["enos_crdb", "bench", "keystone"]},
}


def alone(results: Path) -> tuple[Path, Path]:
    """Two runs that repeat one another, outside any campaign."""
    first, second = (run for run in runs(results) if "postgresql" in (run / "manifest.json").read_text())
    for run in (first, second):
        change(run, campaign=None)
    return first, second


@pytest.mark.parametrize("places", MATTERS.values(), ids=MATTERS)
@pytest.mark.parametrize("planned", [True, False], ids=["campaign", "alone"])
def test_runs_that_differ_in_anything_that_counts_are_no_repetitions(
    results: Path, places: Mapping[str, Any], planned: bool
) -> None:
    first, second = (run for run in runs(results) if "postgresql" in (run / "manifest.json").read_text())
    if not planned:
        alone(results)
    assert not report.collect([first, second]).several
    change(second, **places)
    material = report.collect([first, second])
    assert material.several
    assert len({one.label for one in material.combinations}) == 2
    assert loading.load(first.parent.parent)["combination"].nunique() == 2
    found = compare(material, anyway=True).differing
    assert found, "what differs is named"


@pytest.mark.parametrize("places", NOT_MATTERS.values(), ids=NOT_MATTERS)
def test_what_cannot_change_a_number_does_not_tell_runs_apart(results: Path, places: Mapping[str, Any]) -> None:
    first, second = alone(results)
    change(second, **places)
    assert not report.collect([first, second]).several


def test_what_differs_is_named_by_its_place_in_the_file(results: Path) -> None:
    first, second = alone(results)
    change(second, **MATTERS["database-settings"])
    assert compared(first, second).differing == {"database.settings.work_mem": ["", "64MB"]}


def test_a_combination_that_was_changed_under_way_is_shown_apart(results: Path) -> None:
    first, second = (run for run in runs(results) if "postgresql" in (run / "manifest.json").read_text())
    change(second, **MATTERS["the-engine"])
    (text,) = [line for line in opening_lines([first, second]) if "do not repeat one another" in line]
    assert "engine.commit" in text


def opening_lines(paths: Sequence[Path]) -> list[str]:
    return [line for part in warnings_of(report.collect(paths)).parts for line in getattr(part, "lines", ())]


def test_open_and_closed_loops_share_no_ratio_without_a_mark(results: Path) -> None:
    first, second = alone(results)
    runner = {"type": "open_loop", "rate_per_s": 4.0, "arrivals": "even", "seed": 1, "duration_s": None}
    change(second, **{"configuration__bench__runner": runner})
    found = compared(first, second, anyway=True)
    assert all("closed against open loop" in one.verdict for one in found.differences)
    change(second, **{"configuration__bench__runner": {**runner, "arrivals": "poisson"}})
    third = compared(first, second, anyway=True)
    assert found.differing["runner"] != third.differing["runner"], "how requests arrive is in the words"


def effect(value: float, low: float, high: float, covers: str = "runs and iterations") -> Effect:
    ratio = Interval(value=value, low=low, high=high)
    return Effect(
        median_ratio=ratio,
        mean_ratio=ratio,
        superiority=0.5,
        shift=0.0,
        confidence=0.95,
        covers=covers,
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (effect(1.04, 0.97, 1.1), "undecided: between 3 % faster and 10 % slower"),
        (effect(1.01, 0.97, 1.04), "equivalent: within 5 %"),
        (effect(1.03, 1.01, 1.04), "equivalent: within 5 %"),
        (effect(1.01, 0.97, 1.04, covers="iterations"), "undecided: between 3 % faster and 4 % slower"),
        (effect(1.3, 0.0, math.inf, covers="iterations"), "undecided"),
        (effect(1.5, 1.4, 1.6, covers="iterations"), "50 % slower (40 % to 60 %); of these runs only, repeat them"),
        (effect(1.3, 1.2, 1.4), "30 % slower (20 % to 40 %)"),
        (effect(0.8, 0.7, 0.9), "20 % faster (10 % to 30 %)"),
        (effect(2.5, 2.25, 3.0), "2.50 times as long (2.25 to 3.00)"),
        (effect(0.25, 0.2, 0.4), "4.00 times as fast (2.50 to 5.00)"),
        (
            effect(1.1, 1.05, 1.2, "iterations"),
            "undecided: 10 % slower (5 % to 20 %), but single runs differ by that much; repeat them",
        ),
        (effect(2.5, 1.1, 12.5), "2.50 times as long (1.10 to 12.5)"),
        (effect(1.5, 1.1, 2.5), "50 % slower (10 % to 150 %)"),
        (effect(math.nan, math.nan, math.nan), "cannot be told: nothing succeeded on one side"),
        (effect(1.2, math.nan, math.nan), "cannot be told: too few iterations"),
    ],
)
def test_a_verdict_in_words(found: Effect, said: str) -> None:
    assert verdict(found) == said


def test_runs_of_the_same_settings_are_repetitions(results: Path) -> None:
    found = compared(*runs(results))
    assert [len(one.runs) for one in found.material.combinations] == [2, 2]
    slower = next(one for one in found.numbers if one.combination.index == 1)
    assert " % slower (" in found.verdict(slower)
    assert found.verdict(found.numbers[0]) == "", "the first is what the others are compared with"
    assert "backend" in found.differing


def test_runs_that_repeat_one_another_are_compared_one_by_one(results: Path) -> None:
    first, second, *_ = runs(results)
    found = compared(first, second)
    assert [one.label for one in found.material.combinations] == [first.name, second.name]
    assert not found.differing
    assert any("come and go between runs" in warning for warning in found.warnings)


def test_runs_outside_a_campaign_are_called_by_as_little_as_tells_them_apart(results: Path) -> None:
    for run in runs(results):
        change(run, campaign=None)
    labels = [one.label for one in compared(*runs(results)).material.combinations]
    assert labels == ["postgresql", "mariadb"]
    change(runs(results)[1], configuration__openstack__keystone__cache="none")
    labels = [one.label for one in compared(*runs(results)).material.combinations]
    assert labels == ["postgresql, cache memcached", "postgresql, cache none", "mariadb, cache memcached"]


def test_the_first_one_named_is_the_first(results: Path) -> None:
    first, *_, last = runs(results)
    assert [one.backend for one in compared(last, first).material.combinations] == ["mariadb", "postgresql"]


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        ("configuration__openstack__keystone__password_hash_rounds", 12, "hash rounds differs"),
        ("versions", {"rally-1": {"virtualenvs": {"rally": {"rally-openstack": "5.0.0"}}}}, "rally-openstack differs"),
        ("provider", "nspawn", "provider differs"),
    ],
)
def test_what_hides_the_difference_is_refused(results: Path, place: str, value: Any, why: str) -> None:
    first, *_, last = runs(results)
    change(last, **{place: value})
    with pytest.raises(ConfigurationError, match=why):
        compared(first, last)
    assert any(why in warning for warning in compared(first, last, anyway=True).warnings)


def test_another_machine_is_refused_when_hosts_are_local(results: Path) -> None:
    first, *_, last = runs(results)
    for run in (first, last):
        change(run, provider="nspawn")
    change(last, provenance__machine__architecture="aarch64", provenance__machine__cpus=64)
    with pytest.raises(ConfigurationError, match="machine differs"):
        compared(first, last)


def test_several_differences_are_warned_of(results: Path) -> None:
    first, *_, last = runs(results)
    change(last, configuration__openstack__keystone__cache="none", configuration__openstack__keystone__workers=4)
    assert any("3 settings differ (backend, cache, workers)" in warning for warning in compared(first, last).warnings)


def test_one_run_is_no_comparison(results: Path) -> None:
    with pytest.raises(ConfigurationError, match="a comparison needs two runs"):
        compared(runs(results)[0])


def test_runs_without_a_common_scenario(tmp_path: Path) -> None:
    for name, scenario in (("one", SCENARIOS[0]), ("other", SCENARIOS[1])):
        (tmp_path / name).mkdir()
        write_campaign(tmp_path / name, combinations=[FAST], runs=1, iterations=12, scenarios=[scenario])
    with pytest.raises(ConfigurationError, match="no scenario in common"):
        compared(*(run for name in ("one", "other") for run in runs(tmp_path / name)))


def test_failures_are_part_of_the_verdict(tmp_path: Path) -> None:
    for name, share in (("one", 0.0), ("other", 0.5)):
        (tmp_path / name).mkdir()
        write_campaign(tmp_path / name, combinations=[FAST], runs=1, failure_share=share, scenarios=SCENARIOS[:1])
    found = compared(*(run for name in ("one", "other") for run in runs(tmp_path / name)))
    assert f"{found.numbers[1].failures} of 100 failed, 0 of 100 of the first" in found.verdict(found.numbers[1])


@pytest.fixture
def called(results: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Runs a command on the results; returns its exit code."""
    monkeypatch.setenv("ENOS_CRDB_RESULTS", str(results))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("enos_crdb.report.drawing.pdf", lambda _: b"%PDF-")  # test_report looks at them

    def call(*arguments: str) -> object:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return ended.value.code

    return call


def test_report_of_a_run_prints_its_table_and_says_where_the_page_is(
    called: Call, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "current").symlink_to(runs(results)[0].parents[1].name)
    assert called("report") == 0
    shown = capsys.readouterr().out.replace("\n", "")
    last = sorted((results / "current" / "runs").iterdir())[-1].resolve()
    assert f"Run {last.name}" in shown
    assert shown.endswith(f"Report: {last / 'report.html'}")
    assert (last / "report.html").exists()
    assert (last / "summary.csv").exists()


def test_report_of_a_campaign_by_the_beginning_of_its_name(called: Call, results: Path) -> None:
    assert called("report", "synth") == 0
    assert (results / "campaigns" / "synthetic-20261122T100000Z" / "report.html").exists()


def test_the_beginning_of_several_names(called: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("report", "20261122T") == StateError.exit_code
    assert "is the beginning of several names" in capsys.readouterr().err


def test_a_run_that_cannot_be_counted_has_a_table_and_no_page(
    called: Call, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs(results)[0]
    change(run, finished_at=None)
    assert called("report", run.name) == 0
    assert "warning: no page: no run can be reported" in capsys.readouterr().out
    assert not (run / "report.html").exists()


def test_a_name_that_means_nothing(called: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("report", "nothing") == StateError.exit_code
    assert "is called 'nothing'" in capsys.readouterr().err


def test_compare_by_the_beginning_of_names(
    called: Call, results: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, _, last, _ = (path.name for path in runs(results))
    assert called("compare", first, last, "--output", str(tmp_path / "page")) == 0
    shown = capsys.readouterr().out
    assert "what differs" in shown
    assert "% slower" in shown
    assert (tmp_path / "page" / "report.html").exists()
    assert called("compare", first) == ConfigurationError.exit_code
