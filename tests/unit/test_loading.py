"""Runs of a results directory as one table, and what is left out of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import enos_crdb
from benchmarks import synthetic
from enos_crdb import loading, stats
from enos_crdb.errors import StateError

RUNS, ITERATIONS = 2, 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of two combinations, one run refused and one attempt failed."""
    root = tmp_path_factory.mktemp("made")
    combinations = synthetic.grid(("postgresql", "galera"), (10.0,))
    synthetic.write_campaign(root, combinations=combinations, runs=RUNS, iterations=ITERATIONS, refused=1, failed=1)
    return root


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """The same, to be spoiled."""
    return shutil.copytree(made, tmp_path / "results")


def campaign_of(results: Path) -> Path:
    (found,) = (results / "campaigns").iterdir()
    return found


def run_of(results: Path) -> Path:
    """The first run that counts."""
    return loading.runs(results)[0].directory


def change(path: Path, how: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(path.read_text())
    how(document)
    path.write_text(json.dumps(document))


def reasons(results: Path) -> str:
    return "\n".join(map(str, loading.find(results).skipped))


REFUSED = "ignore:1 runs left out"


@pytest.mark.filterwarnings(REFUSED)
def test_a_campaign_is_a_table_with_its_factors(made: Path) -> None:
    table = loading.load(campaign_of(made))
    assert len(table) == 2 * RUNS * 2 * 2 * ITERATIONS  # combinations, runs, scenarios, metrics
    added = ["deployment", "backend", "combination", "repetition", "block", "factor.backend", "factor.delay_ms"]
    assert list(table.columns) == [*stats.COLUMNS, *added]
    assert set(table["factor.delay_ms"]) == {"10"}
    assert set(table["combination"]) == {"backend=postgresql,delay_ms=10", "backend=galera,delay_ms=10"}
    assert sorted(set(table["repetition"])) == [1, 2]
    assert all(str(table[name].dtype) == "category" for name in ("scenario", "metric", "error", "factor.backend"))


@pytest.mark.filterwarnings(REFUSED)
def test_a_results_directory_a_deployment_and_a_run_are_tables_too(made: Path) -> None:
    run = run_of(made)
    assert len(loading.load(made)) == len(loading.load(campaign_of(made)))
    assert set(loading.load(run.parent.parent)["deployment"]) == {run.parent.parent.name}
    assert set(loading.load(run)["run"]) == {run.name}
    assert len(enos_crdb.load(str(run))) == 2 * 2 * ITERATIONS


def test_the_package_does_not_import_pandas_to_be_imported() -> None:
    """`import enos_crdb` is what every command begins with."""
    import subprocess
    import sys

    code = "import enos_crdb, sys; print(sorted({'pandas', 'numpy', 'scipy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_is_left_out_is_warned_of_and_listed(made: Path) -> None:
    with pytest.warns(UserWarning, match=r"1 runs left out: .*its network was off"):
        table = loading.load(made)
    (reason,) = table.attrs["skipped"]
    assert "0.2 ms measured, 100.2 ms expected" in reason


def test_an_attempt_that_was_labelled_off_counts(results: Path) -> None:
    """``mismatch: label``: the user wants to see such runs."""
    refused = next(iter(loading.find(results).skipped)).directory
    change(refused / "manifest.json", lambda manifest: manifest["network"].update(mismatch="label"))
    journal = campaign_of(results) / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"refused"', '"ok"'))
    assert refused in [run.directory for run in loading.runs(results)]


def test_runs_are_in_the_order_in_which_they_began(made: Path) -> None:
    names = [run.name for run in loading.runs(made)]
    assert names == sorted(names)
    assert len(names) == 2 * RUNS


def tear_manifest(run: Path) -> None:
    path = run / "manifest.json"
    path.write_bytes(path.read_bytes()[:200])


def tear_samples(run: Path) -> None:
    path = run / "samples.csv"
    path.write_bytes(path.read_bytes()[:-30])


def end_in_a_number(run: Path) -> None:
    path = run / "samples.csv"
    path.write_text(path.read_text().rstrip() + "\nx,y,z,1,iteration,0.1x")


def lose_a_column(run: Path) -> None:
    path = run / "samples.csv"
    path.write_text(path.read_text().replace("outcome", "out", 1))


def change_key(key: str, value: Any) -> Callable[[Path], None]:
    return lambda run: change(run / "manifest.json", lambda manifest: manifest.update({key: value}))


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (tear_manifest, "not valid JSON"),
        (lambda run: (run / "manifest.json").unlink(), "cannot be read"),
        (lambda run: (run / "manifest.json").write_text("[]"), "is not that of a run"),
        (change_key("hosts", None), "not that of a run"),
        (change_key("configuration", {}), "not that of a run"),
        (change_key("finished_at", None), "did not finish"),
        (lambda run: (run / "samples.csv").unlink(), "measured nothing"),
        (tear_samples, "cannot be read as samples"),
        (end_in_a_number, "cannot be read as samples"),
        (lose_a_column, "no column outcome"),
        (lambda run: (run / "samples.csv").write_bytes(b"\xff\xfe\x00"), "cannot be read as samples"),
    ],
)
def test_a_spoiled_run_is_left_out_and_the_rest_is_loaded(
    results: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    run = run_of(results)
    spoil(run)
    table = loading.load(results)
    assert run.name not in set(table["run"])
    assert len(set(table["run"])) == 2 * RUNS - 1
    assert any(run.name in skipped and reason in skipped for skipped in table.attrs["skipped"])
    with pytest.raises(StateError):
        loading.load(run)


def test_foreign_files_and_directories_do_no_harm(results: Path) -> None:
    (results / "notes.txt").write_text("mine")
    (results / "empty").mkdir()
    (run_of(results).parent / "copy.tar").write_text("x")
    (run_of(results).parent / "mine").mkdir()
    assert len(loading.runs(results)) == 2 * RUNS
    assert "mine: manifest.json cannot be read" in reasons(results)


def test_the_current_deployment_is_not_counted_twice(results: Path) -> None:
    (results / "current").symlink_to(run_of(results).parent.parent.name)
    assert len(loading.runs(results)) == 2 * RUNS


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: None, lambda path: path.write_text("")])
def test_nothing_at_all_is_an_error(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "results")
    with pytest.raises(StateError, match=r"no run is stored|is not a directory"):
        loading.find(tmp_path / "results")


def test_an_attempt_that_the_journal_does_not_know_did_not_end(results: Path) -> None:
    """A run that a crash cut off is made again; both would count twice."""
    journal = campaign_of(results) / "journal.jsonl"
    first, *rest = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(rest))
    lost = json.loads(first)["run"]
    assert lost not in [run.name for run in loading.runs(results)]
    assert f"{lost}: its attempt in {campaign_of(results).name} did not end" in reasons(results)


def test_a_torn_last_line_of_the_journal_is_told(results: Path) -> None:
    journal = campaign_of(results) / "journal.jsonl"
    journal.write_text(journal.read_text() + '{"item": 9, "sta')
    found = loading.campaign(campaign_of(results))
    assert found.torn == '{"item": 9, "sta'
    assert len(found.journal) == 2 * RUNS + 2
    assert len(loading.runs(results)) == 2 * RUNS


def test_a_run_alone_counts_without_its_campaign(results: Path) -> None:
    shutil.rmtree(results / "campaigns")
    assert len(loading.runs(results)) == 2 * RUNS


def test_a_campaign_that_is_none_is_an_error(results: Path) -> None:
    (campaign_of(results) / "campaign.json").write_text("{}")
    with pytest.raises(StateError, match="does not hold a campaign"):
        loading.campaign(campaign_of(results))


def test_runs_outside_a_campaign_are_numbered_in_their_deployment(results: Path) -> None:
    deployment = run_of(results).parent.parent
    for path in deployment.glob("runs/*/manifest.json"):
        change(path, lambda manifest: manifest.update(campaign=None))
    table = loading.load(deployment)
    assert sorted(set(table["repetition"])) == [1, 2]
    assert set(table["combination"]) == {"postgresql"}


def test_a_run_on_a_stand_in_is_left_out(results: Path) -> None:
    run = run_of(results)
    database = {"backend": "cockroachdb", "replicas": 1}
    change(run / "manifest.json", lambda manifest: manifest["configuration"].update(database=database))
    versions = run / "hosts" / "database-1" / "versions.json"
    versions.write_text(json.dumps({"things": {"database": "Build Tag: v25\nDistribution: stand-in\n"}}))
    assert run not in [one.directory for one in loading.runs(results)]
    assert "Distribution: stand-in" in reasons(results)


# Names


def test_a_name_is_a_path_a_name_or_the_beginning_of_one(results: Path) -> None:
    run = run_of(results)
    for name in (str(run), run.name, run.name[:-2]):
        assert loading.named(results, name) == run
    assert loading.named(results, run.parent.parent.name) == run.parent.parent
    assert loading.named(results, campaign_of(results).name[:9]) == campaign_of(results)
    assert loading.named(results, str(results)) == results


def test_runs_of_the_current_deployment_come_first(results: Path) -> None:
    run = run_of(results)
    with pytest.raises(StateError, match="is the beginning of several names"):
        loading.named(results, run.name[:8])
    mine = run.parent / "20261122T23"
    mine.mkdir()
    (run.parents[2] / "other" / "runs" / "20261122T23").mkdir(parents=True)
    assert loading.named(results, "20261122T2", current=run.parent.parent) == mine


def test_a_run_of_another_deployment_is_refused_where_hosts_are_asked(results: Path) -> None:
    run, *_, other = loading.runs(results)
    assert loading.run_of(run.directory.parent.parent, run.name) == run.directory
    with pytest.raises(StateError, match=f"{other.name} is no run of {run.deployment}"):
        loading.run_of(run.directory.parent.parent, other.name)


@pytest.mark.parametrize("name", ["/etc", "*", "?", "[", "", "nothing"])
def test_what_means_nothing_is_refused(results: Path, name: str) -> None:
    with pytest.raises(StateError, match="is called"):
        loading.named(results / "campaigns" / "nowhere", name)


# The points of the latency model


@pytest.mark.filterwarnings(REFUSED)
def test_points_of_the_latency_model_come_from_counters_and_round_trips(made: Path) -> None:
    runs = loading.runs(made)
    points, missing = loading.points(runs, loading.load(made))
    assert missing == ()
    found = {point.backend: point for point in points if point.scenario == "keystone/create-user"}
    assert found["postgresql"].round_trips == 120
    assert found["postgresql"].rtt_ms == pytest.approx(20.2)
    assert found["postgresql"].replications == 0
    galera = found["galera"]
    assert (galera.replications, galera.replays) == (4, 5)
    assert galera.rtt_ms == pytest.approx(0.2)
    assert galera.replication_rtt_ms == pytest.approx(20.2)
    assert galera.comparable == pytest.approx(galera.database or 0, rel=0.01)
    assert [(one.keystone, one.node, one.share) for one in galera.connections] == [("keystone-1", "database-1", 1.0)]


def test_the_model_finds_what_the_durations_were_made_of(tmp_path: Path) -> None:
    combinations = synthetic.grid(("postgresql", "galera"), (0.0, 10.0, 50.0))
    synthetic.write_campaign(tmp_path, combinations=combinations, runs=2, iterations=60, between_runs=0.0)
    points, _ = loading.points(loading.runs(tmp_path), loading.load(tmp_path))
    model = stats.latency_model(points)
    assert {fit.series for fit in model.fits} == {"postgresql", "galera"}
    assert model.error_percent < 2
    service = {fit.series: fit.service_ms for fit in model.fits}
    assert service["postgresql"] == pytest.approx(200, rel=0.05)
    assert service["galera"] == pytest.approx(230, rel=0.05)


def test_combinations_that_differ_in_more_than_delay_are_fitted_apart(tmp_path: Path) -> None:
    near, far = synthetic.grid(("postgresql",), (0.0, 10.0))
    wider = replace(far, factors={"backend": "galera", "delay_ms": "10"}, nodes=3, backend="galera")
    synthetic.write_campaign(tmp_path, combinations=(near, far, wider), runs=1, iterations=20)
    points, _ = loading.points(loading.runs(tmp_path), loading.load(tmp_path))
    model = stats.latency_model(points)
    assert {(fit.series, len(fit.predictions)) for fit in model.fits} == {("postgresql", 2)}
    assert {name for name, _ in model.untested} == {"galera, delay_ms=10"}


def unmeasured(manifest: dict[str, Any]) -> None:
    """No round trip was measured, before or after."""
    for moment in ("before", "after"):
        manifest["network"][moment]["rtt"] = []


@pytest.mark.filterwarnings(REFUSED)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: shutil.rmtree(run / "hosts" / "keystone-1" / "keystone_counters"), "did not count what it sent"),
        (
            lambda run: change(run / "manifest.json", unmeasured),
            "nobody measured the way from keystone-1 to database-1",
        ),
    ],
)
def test_a_point_that_lacks_something_says_what(results: Path, spoil: Callable[[Path], Any], reason: str) -> None:
    spoil(run_of(results))
    points, missing = loading.points(loading.runs(results), loading.load(results))
    assert {point.backend for point in points} == {"galera"}
    assert len(missing) == 2
    assert all(reason in text and "backend=postgresql,delay_ms=10" in text for text in missing)


@pytest.mark.filterwarnings(REFUSED)
def test_the_python_of_the_documentation_runs(made: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-numbers-in-python.md"
    monkeypatch.chdir(made.parent)
    (made.parent / "results").symlink_to(made)
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL))
    exec(compile(code, str(page), "exec"), {})
    assert "times as long" in capsys.readouterr().out


def test_a_synthetic_campaign_says_what_it_is_and_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        synthetic.write_campaign(
            tmp_path / name, combinations=synthetic.grid(("galera",), (0.0,)), runs=1, iterations=5
        )
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert len(files) > 10
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes() for file in files)
    (run,) = loading.runs(tmp_path / "one")
    assert run.record.synthetic is True
    assert "nothing was measured" in run.record.warnings[0]
