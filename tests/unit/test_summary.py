"""The summary of a run, from a directory as a run leaves it."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from enos_crdb import config, record, stats, testing
from enos_crdb.config import Configuration
from enos_crdb.errors import StateError
from enos_crdb.model import Host, Sample
from enos_crdb.record import Client, Machine, Outcome, Pace, Provenance, RunRecord, ScenarioRecord
from enos_crdb.summary import summarise, table, write_csv

USERS, ENTITIES = "keystone/create-user", "keystone/get-entities"
DRIVERS = "openstack.keystone.keystone_crdb=drivers"


DOCUMENT: dict[str, Any] = {
    "name": "summary",
    "provider": "nspawn",
    "machines": [
        {"roles": ["database", "keystone"], "count": 1, "site": "nantes"},
        {"roles": ["rally"], "count": 1, "site": "rennes", "cpus": 1.0},
    ],
    "database": {"backend": "postgresql"},
    "openstack": {
        "release": "2026.1",
        "keystone": {"workers": 3, "cache": "none", "password_hash_rounds": 4, "keystone_crdb": "off"},
    },
    "bench": {"scenarios": [USERS, ENTITIES], "times": 20, "concurrency": 2},
}
"""One PostgreSQL host with Keystone, and one rally host of one processor."""


def configured(*overrides: str) -> Configuration:
    return config.check(config.override(DOCUMENT, overrides), source="test")


def host(name: str, *roles: str, site: str = "nantes") -> Host:
    return Host(name=name, roles=roles, address="10.0.1.11", addresses={}, site=site)


def client(rally: str, keystone: str) -> Client:
    return Client(
        name=f"{rally}-to-{keystone}", rally=rally, keystone=keystone, auth_url="http://k:5000/v3", region=keystone
    )


HOSTS = (host("database-1", "database", "keystone"), host("rally-1", "rally", site="rennes"))
MACHINE = Machine(kernel="6.1", architecture="x86_64", python="3.11.2", cpus=2, load_average=(0.0, 0.0, 0.0))
PROVENANCE = Provenance(
    enos_crdb="0.1.0", commit="0123456789abcdef", dirty=True, command=(), machine=MACHINE, libraries={}
)


def scenario(name: str, status: str = "ok", message: str = "", load: Pace | None = None) -> ScenarioRecord:
    return ScenarioRecord(
        name=name,
        index=1,
        started_at="2026-11-22T10:01:00.000+00:00",
        finished_at="2026-11-22T10:02:00.000+00:00",
        clients=(Outcome(client="rally-1-to-database-1", status=status, message=message),),
        load=load or Pace(),
    )


def a_run(tmp_path: Path, samples: list[Sample], **changes: Any) -> Path:
    """The directory of a run, its record changed."""
    made: dict[str, Any] = {
        "run": "20261122T100000Z-ab12",
        "deployment": "summary-20261122T095000Z",
        "started_at": "2026-11-22T10:00:00.000+00:00",
        "finished_at": "2026-11-22T10:05:00.000+00:00",
        "provider": "nspawn",
        "provenance": PROVENANCE,
        "configuration": configured(),
        "hosts": HOSTS,
        "clients": (client("rally-1", "database-1"),),
        "versions": {"rally-1": {"virtualenvs": {"rally": {"rally-openstack": "4.1.0"}}}},
        "scenarios": (scenario(USERS), scenario(ENTITIES)),
    }
    record.write(RunRecord(**{**made, **changes}), tmp_path)
    stats.append(samples, tmp_path / "samples.csv")
    versions = {"things": {"database": "15.20 (Debian 15.20-0+deb12u1)"}, "system": "Debian GNU/Linux 12 (bookworm)"}
    keep(
        tmp_path,
        "database-1",
        "versions.json",
        json.dumps({**versions, "virtualenvs": {"keystone": {"keystone": "29.0.0"}}}),
    )
    return tmp_path


def keep(run: Path, host: str, name: str, text: str) -> None:
    (run / "hosts" / host).mkdir(parents=True, exist_ok=True)
    (run / "hosts" / host / name).write_text(text)


def shown(run: Path, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table(summarise(run)))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def good(name: str) -> list[Sample]:
    return testing.samples(name, [0.1] * 100)


def test_the_table_fits_a_terminal_and_says_what_was_measured(tmp_path: Path) -> None:
    text = shown(a_run(tmp_path, good(USERS) + testing.samples(ENTITIES, [1.0, 2.0, 9.0], failed=[2])))
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["create-user"][:7] == ["create-user", "100", "0", "100", "100", "100", "100"]
    assert lines["get-entities"][:4] == ["get-entities", "3", "1", "1500"]
    assert max(len(line) for line in text.splitlines()) <= 80
    said = " ".join(text.split())
    assert "postgresql 15.20 on database-1" in said
    assert (
        "29.0.0 (release 2026.1 by pypi) on database-1: 3 workers x 1 threads, no cache, 4 hash rounds, fernet tokens"
        in said
    )
    assert "light: 20 iterations, 2 at once, per Rally; rally-openstack 4.1.0 on rally-1" in said
    assert "2 (nspawn), Debian GNU/Linux 12 (bookworm); sites: nantes, rennes" in said
    assert "commit 0123456789 with uncommitted changes" in said


@pytest.mark.parametrize("width", [60, 80, 200])
def test_numbers_are_never_cut(tmp_path: Path, width: int) -> None:
    name = "keystone/authenticate-user-and-validate-token"
    configuration = configured(f"bench.scenarios=[{name}]")
    run = a_run(
        tmp_path, testing.samples(name, [12.3456] * 9), scenarios=(scenario(name),), configuration=configuration
    )
    assert "12346" in shown(run, width)
    assert "…" not in shown(run, width)


def test_the_csv_has_every_metric_and_what_it_was_measured_on(tmp_path: Path) -> None:
    rows = good(USERS)
    action = [Sample(**{**vars(row), "metric": "keystone_v3.create_user", "value": 0.05}) for row in rows]
    run = a_run(tmp_path, rows + action)
    path = write_csv(summarise(run), run)
    assert path == run / "summary.csv"
    found = list(csv.DictReader(path.open()))
    assert [(row["scenario"], row["metric"], row["n"]) for row in found] == [
        (USERS, "iteration", "100"), (USERS, "keystone_v3.create_user", "100"), (ENTITIES, "iteration", "0"),
    ]  # fmt: skip
    assert (found[1]["mean_s"], found[1]["failures"], found[2]["mean_s"]) == ("0.05", "0", "")
    labels = ("backend", "backend_version", "release", "workers", "cache", "password_hash_rounds", "load", "times")
    assert [found[0][name] for name in labels] == ["postgresql", "15.20", "2026.1", "3", "none", "4", "light", "20"]


def counters(**grown: int) -> str:
    names = ("round_trips", "statements", "replays", "reconnects", "gave_up")
    before = dict.fromkeys(names, 1000)
    after = {name: 1000 + grown.get(name, 0) for name in names}
    return json.dumps({"before": {"total": before, "operations": {}}, "after": {"total": after, "operations": {}}})


def test_round_trips_and_replays_are_beside_the_durations(tmp_path: Path) -> None:
    run = a_run(tmp_path, good(USERS), scenarios=(scenario(USERS),))
    sent = counters(round_trips=12_100, statements=4_900, replays=7, reconnects=1, gave_up=2)
    (run / "hosts" / "database-1" / "keystone_counters").mkdir()
    keep(run, "database-1", "keystone_counters/01-create-user.json", sent)
    lines = {line.split()[0]: line for line in shown(run).splitlines() if line.strip()}
    assert lines["create-user"].split()[-5:] == ["121", "8", "(2", "given", "up)"]
    assert max(len(line.rstrip()) for line in shown(run).splitlines()) <= 80
    (row,) = csv.DictReader(write_csv(summarise(run), run).open())
    columns = ("sql_round_trips", "sql_statements", "sql_replays", "sql_gave_up", "keystone_crdb")
    assert [row[name] for name in columns] == ["12100", "4900", "8", "2", "off"]


def test_a_run_without_counters_has_no_columns_for_them(tmp_path: Path) -> None:
    run = a_run(tmp_path, good(USERS), scenarios=(scenario(USERS),))
    assert "replays" not in shown(run)
    (row,) = csv.DictReader(write_csv(summarise(run), run).open())
    assert row["sql_round_trips"] == ""


@pytest.mark.parametrize("distribution", ["STAND-IN (PostgreSQL behind a proxy; not CockroachDB)", "", "ccl"])
def test_what_only_answers_like_cockroachdb_is_not_reported_as_such(tmp_path: Path, distribution: str) -> None:
    configuration = configured("database={backend: cockroachdb, replicas: 1}", DRIVERS)
    run = a_run(tmp_path, good(USERS), configuration=configuration)
    told(run, distribution)
    with pytest.raises(StateError, match="was no CockroachDB"):
        summarise(run)
    told(run, "CCL")
    assert "cockroachdb 25.4.11 on database-1" in " ".join(shown(run).split())


@pytest.mark.parametrize(
    ("made", "license_file", "nodes", "warned"),
    [
        ("2026-11-16T09:00:00+00:00", None, 3, True),
        ("2026-11-17T09:00:00+00:00", None, 3, False),
        ("2026-11-16T09:00:00+00:00", "/key", 3, False),
        ("2026-11-16T09:00:00+00:00", None, 1, False),
    ],
    ids=["old", "young", "licensed", "single"],
)
def test_a_cluster_that_is_throttled_soon_is_said(
    tmp_path: Path, made: str, license_file: str | None, nodes: int, warned: bool
) -> None:
    licence = "null" if license_file is None else license_file
    configuration = configured(f"database={{backend: cockroachdb, replicas: 1, license_file: {licence}}}", DRIVERS)
    hosts = tuple(host(f"database-{n}", "database", "keystone") for n in range(nodes))
    run = a_run(tmp_path, good(USERS), configuration=configuration, hosts=(*hosts, HOSTS[1]))
    export = run / "hosts" / "database-0" / "files/var/lib/enos_crdb/export"
    export.mkdir(parents=True)
    (export / "cluster.json").write_text(json.dumps({"initialised_at": made}))
    said = [warning for warning in summarise(run).warnings if "days old" in warning]
    assert len(said) == warned
    assert not warned or "6.0 days old" in said[0]


def test_threads_that_share_tokens_are_said(tmp_path: Path) -> None:
    run = a_run(tmp_path, good(USERS), configuration=configured("openstack.keystone.threads=4"))
    assert any("4 threads per worker" in warning for warning in summarise(run).warnings)


def told(run: Path, distribution: str) -> None:
    said = f"Build Tag:        v25.4.11\nDistribution:     {distribution}\nPlatform: linux amd64"
    keep(run, "database-1", "versions.json", json.dumps({"things": {"database": said}}))


def test_nothing_failed(tmp_path: Path) -> None:
    found = summarise(a_run(tmp_path, good(USERS) + good(ENTITIES)))
    assert found.failure == ""
    assert found.warnings == ()


def test_a_scenario_that_failed_is_named_with_its_message(tmp_path: Path) -> None:
    scenarios = (scenario(USERS), scenario(ENTITIES, "invalid", "Keystone did not answer"))
    found = summarise(a_run(tmp_path, good(USERS), scenarios=scenarios))
    assert found.failure.startswith("1 of 2 scenarios could not run, or missed their SLA:")
    assert f"{ENTITIES}, rally-1-to-database-1: invalid: Keystone did not answer" in found.failure
    assert [row.status for row in found.rows] == ["ok", "invalid"]


def test_a_run_that_was_interrupted(tmp_path: Path) -> None:
    found = summarise(a_run(tmp_path, good(USERS), scenarios=(scenario(USERS),), finished_at=None))
    assert found.failure == f"the run was interrupted before {ENTITIES}."


def test_warnings_of_the_run_come_first(tmp_path: Path) -> None:
    found = summarise(a_run(tmp_path, good(USERS) + good(ENTITIES), warnings=("rally-2 was not reached",)))
    assert found.warnings == ("rally-2 was not reached",)


def test_few_iterations_make_a_doubtful_p99(tmp_path: Path) -> None:
    found = summarise(a_run(tmp_path, good(USERS) + testing.samples(ENTITIES, [1.0] * 12)))
    assert found.warnings == ("p99 rests on as few as 12 iterations: below 100, read it as the slowest one.",)


def test_rally_beside_what_it_measures_is_said(tmp_path: Path) -> None:
    hosts = (host("all-1", "database", "keystone", "rally"),)
    clients = (client("all-1", "all-1"),)
    found = summarise(a_run(tmp_path, good(USERS) + good(ENTITIES), hosts=hosts, clients=clients))
    assert any("Rally shared all-1" in warning for warning in found.warnings)


def test_rally_placed_beside_what_it_measures_is_said(tmp_path: Path) -> None:
    """`bench.placement: database`, as in the 2018 study, although there is a host for Rally."""
    clients = (client("database-1", "database-1"),)
    found = summarise(a_run(tmp_path, good(USERS) + good(ENTITIES), clients=clients))
    assert found.warnings == ("Rally shared database-1 with what it measured; give it a host of its own.",)


def test_a_rally_that_is_the_bottleneck_is_said(tmp_path: Path) -> None:
    """100 iterations, one a second from 1700000000 on; Rally uses 0.8 of the one core that its host may use."""
    run = a_run(tmp_path, good(USERS) + good(ENTITIES))
    lines = ["time,metric,name,value", "1699999999,cores,,2"]
    for second in range(102):
        at = 1_699_999_999 + second
        lines += [f"{at},machine_cpu_s,user,{second}", f"{at},machine_cpu_s,idle,{second}"]
        lines += [f"{at},process_cpu_s,rally_client,{0.8 * second:.2f}"]
    keep(run, "rally-1", "usage.csv", "\n".join(lines))
    found = summarise(run)
    assert [row.client_cpu for row in found.rows] == pytest.approx([0.8, 0.8])
    assert [row.machine_cpu for row in found.rows] == pytest.approx([0.5, 0.5])
    assert f"{USERS}: Rally used 80% of the cores that it can use" in found.warnings[0]
    assert "80%" in shown(run)


def test_a_rally_of_one_process_is_the_bottleneck_on_a_host_of_many_cores(tmp_path: Path) -> None:
    configuration = configured("bench.concurrency=1", "machines.1.cpus=null")
    run = a_run(tmp_path, good(USERS) + good(ENTITIES), configuration=configuration)
    rows = [f"{at},machine_cpu_s,user,{at}" for at in range(1_699_999_999, 1_700_000_101)]
    rows += [
        f"{at},process_cpu_s,rally_client,{0.9 * (at - 1_699_999_999):.2f}"
        for at in range(1_699_999_999, 1_700_000_101)
    ]
    keep(run, "rally-1", "usage.csv", "\n".join(["time,metric,name,value", "1699999999,cores,,64", *rows]))
    assert "Rally used 90% of the cores that it can use" in summarise(run).warnings[0]


def test_a_rally_whose_cpu_is_not_known_is_judged_by_its_rate(tmp_path: Path) -> None:
    fast = [Sample(**{**vars(row), "started_at": row.started_at / 1e2}) for row in good(USERS)]  # 100 in a second
    (said,) = summarise(a_run(tmp_path, fast + good(ENTITIES))).warnings
    assert "iterations a second from 1 Rally, whose CPU is not known. About 25 per core" in said


# Windows and open loops


def loaded(name: str, **load: Any) -> ScenarioRecord:
    """A scenario with the pace of its load."""
    pace = {"steady": 100, "started_per_s": 1.0, "most_in_flight": 2}
    return scenario(name, load=Pace(**{**pace, **load}))


def under(bench: dict[str, Any]) -> Configuration:
    """The usual configuration with other values in its `bench`."""
    section = {**DOCUMENT["bench"], "scenarios": [USERS], **bench}
    return config.check({**DOCUMENT, "bench": section}, source="test")


def in_window(rows: list[Sample], window: str) -> list[Sample]:
    return [replace(row, window=window) for row in rows]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    rows = in_window(testing.samples(USERS, [9.0] * 20), "warm-up") + good(USERS)
    run = a_run(
        tmp_path,
        [*rows, *in_window(testing.samples(USERS, [7.0] * 5), "after")],
        configuration=under({"warm_up_s": 20.0, "steady_s": 100.0}),
        scenarios=(loaded(USERS, warm_up=20, after=5),),
    )
    said = " ".join(shown(run).split())
    assert "20 iterations of the first 20 s (warm-up), 5 iterations after the steady 100 s; kept in samples.csv" in said
    (row,) = csv.DictReader(write_csv(summarise(run), run).open())
    assert [row[name] for name in ("n", "warm_up", "after", "mean_s", "warm_up_s")] == ["100", "20", "5", "0.1", "20.0"]


def test_round_trips_are_those_of_all_iterations(tmp_path: Path) -> None:
    """The counters know nothing of windows."""
    rows = in_window(testing.samples(USERS, [9.0] * 100), "warm-up") + good(USERS)
    run = a_run(tmp_path, rows, scenarios=(loaded(USERS, warm_up=100),), configuration=under({"warm_up_s": 20.0}))
    (run / "hosts" / "database-1" / "keystone_counters").mkdir()
    keep(run, "database-1", "keystone_counters/01-create-user.json", counters(round_trips=2000))
    lines = {line.split()[0]: line for line in shown(run).splitlines() if line.strip()}
    assert lines["create-user"].split()[-2:] == ["10", "0"]


@pytest.mark.parametrize(("steady", "said"), [(0, "none of 30"), (3, "3 of 30")])
def test_a_steady_window_that_missed_the_load_is_said(tmp_path: Path, steady: int, said: str) -> None:
    rows = testing.samples(USERS, [1.0] * 30)
    rows = in_window(rows[steady:], "warm-up") + rows[:steady]
    run = a_run(
        tmp_path, rows, scenarios=(loaded(USERS, warm_up=30 - steady),), configuration=under({"warm_up_s": 9.0})
    )
    assert f"{USERS}: the steady window holds {said} iterations. Make the load longer" in summarise(run).warnings[0]


OPEN = {"runner": {"type": "open_loop", "rate_per_s": 10.0}, "concurrency": 4}


def an_open_loop(tmp_path: Path, *, most_in_flight: int, started_per_s: float) -> Path:
    rows = good(USERS)
    waited = [replace(row, metric="response", value=row.value + 1.0) for row in rows]
    load = loaded(USERS, asked_per_s=10.0, started_per_s=started_per_s, most_in_flight=most_in_flight)
    return a_run(tmp_path, rows + waited, scenarios=(load,), configuration=under(OPEN))


def test_an_open_loop_is_shown_by_its_responses(tmp_path: Path) -> None:
    run = an_open_loop(tmp_path, most_in_flight=3, started_per_s=9.9)
    lines = {line.split()[0]: line.split() for line in shown(run).splitlines() if line.strip()}
    assert lines["create-user"][:8] == ["create-user", "100", "0", "1100", "1100", "1100", "1100", "10.0"]
    said = " ".join(shown(run).split())
    assert "milliseconds from the intended start to the end" in said
    assert "20 iterations, 10 meant to start every second, evenly, at most 4 at once, per Rally" in said
    assert summarise(run).warnings == ()
    assert max(len(line.rstrip()) for line in shown(run).splitlines()) <= 80


@pytest.mark.parametrize(
    ("in_flight", "said"),
    [
        (4, "as many as `concurrency` allows (4) were waiting for Keystone"),
        (3, "with 3 in flight of the 4 that `concurrency` allows: Rally did not keep up"),
    ],
    ids=["keystone", "rally"],
)
def test_an_open_loop_that_fell_behind_says_whom_it_waited_for(tmp_path: Path, in_flight: int, said: str) -> None:
    (warning,) = summarise(an_open_loop(tmp_path, most_in_flight=in_flight, started_per_s=9.4)).warnings
    assert warning.startswith(f"{USERS}: 9.4 of 10 iterations a second were started")
    assert said in warning


def test_starts_that_never_happened_are_said(tmp_path: Path) -> None:
    """An open loop of 300 that was stopped: those that waited longest are in no percentile."""
    run = a_run(tmp_path, good(USERS))
    manifest = json.loads((run / "manifest.json").read_text())
    made = summarise(run).rows[0].iterations
    manifest["scenarios"][0]["clients"][0]["intended"] = made + 180
    (run / "manifest.json").write_text(json.dumps(manifest))
    found = summarise(run)
    assert found.rows[0].never == 180
    assert any(f"180 of {made + 180} iterations that were meant to start never did" in one for one in found.warnings)
    assert "0 + 180" in shown(run)
    assert "were meant to start never did" in shown(run)


@pytest.mark.parametrize(("busy", "noted"), [(1.7, False), (2.0, True)])
def test_work_of_others_on_the_machine_is_said(tmp_path: Path, busy: float, noted: bool) -> None:
    """Three hosts of half a core each on a machine of two; the rest of what is busy is somebody else's."""
    run = a_run(tmp_path, good(USERS))
    hosts = [host["name"] for host in json.loads((run / "manifest.json").read_text())["hosts"]]
    for host in hosts:
        lines = ["time,metric,name,value", "1699999999,cores,,2"]
        for second in range(102):
            at = 1_699_999_999 + second
            lines += [f"{at},machine_cpu_s,user,{busy * second}", f"{at},machine_cpu_s,idle,{(2 - busy) * second}"]
            lines += [f"{at},process_cpu_s,uwsgi,{1.5 / len(hosts) * second}"]
        keep(run, host, "usage.csv", "\n".join(lines))
    found = summarise(run)
    assert found.rows[0].others_cpu == pytest.approx((busy - 1.5) / 2)
    assert any("work of others took up to 25%" in warning for warning in found.warnings) is noted
    (run / "hosts" / hosts[0] / "usage.csv").unlink()
    assert math.isnan(summarise(run).rows[0].others_cpu), "what one host used might be somebody else's"


@pytest.mark.parametrize(("concurrency", "noted"), [(3, False), (4, True)])
def test_a_closed_loop_that_measures_a_queue_says_so(tmp_path: Path, concurrency: int, noted: bool) -> None:
    """Three workers; with more clients than that, some always wait."""
    found = summarise(a_run(tmp_path, good(USERS), configuration=under({"concurrency": concurrency})))
    assert found.warnings == ()
    assert ("4 at once for 3 workers" in found.facts.get("queue", "")) == noted


def test_local_hosts_that_wait_for_each_other_are_said(tmp_path: Path) -> None:
    run = a_run(tmp_path, good(USERS) + good(ENTITIES))
    rows = [f"{at},machine_cpu_s,user,{2 * at}" for at in range(1_699_999_999, 1_700_000_101)]
    keep(run, "rally-1", "usage.csv", "\n".join(["time,metric,name,value", "1699999999,cores,,2", *rows]))
    (found,) = summarise(run).warnings
    assert "100% busy" in found
    assert summarise(a_run(tmp_path, good(USERS) + good(ENTITIES), provider="g5k")).warnings == ()


def test_usage_that_nobody_measured_is_not_zero(tmp_path: Path) -> None:
    assert shown(a_run(tmp_path, good(USERS))).split("create-user")[1].splitlines()[0].split()[-1] == "?"


def test_a_run_without_samples_has_a_summary(tmp_path: Path) -> None:
    run = a_run(tmp_path, [], scenarios=(scenario(USERS, "lost", "nothing came back"),))
    assert [row.statistics.n for row in summarise(run).rows] == [0]
    assert "create-user" in shown(run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{}", "is not that of a run", id="other-json"),
        pytest.param("{", "not valid JSON", id="torn"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StateError, match=message):
        summarise(tmp_path)
