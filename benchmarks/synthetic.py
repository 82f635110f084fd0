"""Campaigns that nobody ran, for tests and benchmarks of what reads the store. Their numbers are drawn at random."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import enos_crdb
from enos_crdb import record, traffic
from enos_crdb.config import Configuration, check
from enos_crdb.config.emulation import Constraint
from enos_crdb.model import Host, slug
from enos_crdb.record import (
    Client,
    Expected,
    Labels,
    Machine,
    Matrix,
    NetworkRecord,
    Outcome,
    Provenance,
    RoundTrip,
    RunRecord,
    ScenarioRecord,
    Tolerance,
)
from enos_crdb.stats import COLUMNS
from enos_crdb.store import State, write_json
from enos_crdb.testing import resources

if TYPE_CHECKING:
    import numpy
    import pandas


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """One combination of a synthetic campaign.

    ``rtt_ms``: between each Keystone and the database node it connects to. ``replication_rtt_ms``: between database
    nodes, paid once per commit. An iteration takes ``service_ms`` at the median, plus round trips x RTT.
    """

    backend: str = "postgresql"
    factors: Mapping[str, Any] = field(default_factory=dict)
    nodes: int = 1
    rtt_ms: float = 0.2
    replication_rtt_ms: float = 0.2
    service_ms: float = 200.0
    round_trips: int = 120
    commits: int = 4
    replays: int = 0

    @property
    def name(self) -> str:
        return ",".join(f"{factor}={level}" for factor, level in self.factors.items()) or self.backend


def grid(
    backends: Sequence[str] = ("postgresql", "galera"), delays_ms: Sequence[float] = (0.0, 10.0, 50.0)
) -> tuple[Synthetic, ...]:
    """Synthetics of factors ``backend`` and ``delay_ms`` (one way): on the Keystones' link, or between the nodes."""
    found = []
    for backend in backends:
        for delay_ms in delays_ms:
            rtt_ms = 0.2 + 2 * delay_ms
            cluster = backend in ("galera", "cockroachdb")
            found.append(
                Synthetic(
                    backend=backend,
                    factors={"backend": backend, "delay_ms": f"{delay_ms:g}"},
                    nodes=3 if cluster else 1,
                    rtt_ms=0.2 if cluster else rtt_ms,
                    replication_rtt_ms=rtt_ms if cluster else 0.2,
                    service_ms=230.0 if cluster else 200.0,
                    replays=5 if cluster else 0,
                )
            )
    return tuple(found)


def write_campaign(
    root: Path,
    *,
    combinations: Sequence[Synthetic] | None = None,
    deployments: int = 1,
    runs: int = 3,
    iterations: int = 100,
    scenarios: Sequence[str] = ("keystone/authenticate", "keystone/create-user"),
    seed: int = 1,
    between_runs: float = 0.02,
    failure_share: float = 0.01,
    refused: int = 0,
    failed: int = 0,
    experiment: str = "synthetic",
) -> Path:
    """Write a campaign below `root` as one leaves it, of numbers drawn at random; returns its directory.

    Every record says ``"synthetic": true`` and warns of it. ``between_runs`` is how much the runs of a combination
    differ (standard deviation of a factor on each run). ``refused`` runs at the end had a network that was off;
    ``failed`` attempts left no run. The same arguments give the same bytes.
    """
    import numpy

    random = numpy.random.default_rng(seed)
    campaign = root / "campaigns" / f"{experiment}-20261122T100000Z"
    campaign.mkdir(parents=True, mode=0o700)
    clock = datetime(2026, 11, 22, 10, 0, tzinfo=timezone.utc)
    journal: list[dict[str, Any]] = []
    combinations = grid() if combinations is None else combinations
    plan = [(c, d, n) for c in combinations for d in range(1, deployments + 1) for n in range(1, runs + 1)]
    plan += [(combinations[-1], deployments, runs + 1 + extra) for extra in range(refused + failed)]
    ends_well, measured = len(plan) - refused - failed, len(plan) - failed
    for item, (combination, deployment, repetition) in enumerate(plan):
        place = _synthetic_deployment(root, combinations, combination, deployment)
        entry: dict[str, Any] = {
            "combination": combination.name,
            "factors": dict(combination.factors),
            "deployment_repetition": deployment,
            "repetition": repetition,
            "block": repetition,
            "attempt": 1,
        }
        status = "ok" if item < ends_well else "refused" if item < measured else "failed"
        run = place / "runs" / f"{clock:%Y%m%dT%H%M%SZ}-{item:04x}"
        ends = clock + timedelta(seconds=1)
        if status != "failed":
            slower = float(random.normal(1.0, between_runs)) if between_runs else 1.0
            labels = Labels(campaign=campaign.name, experiment=experiment, **entry)
            drawn = _Drawn(run, combination, labels, clock, random, slower, iterations, failure_share, status)
            ends = _synthetic_run(drawn, scenarios, _synthetic_configuration(combination, scenarios, iterations))
        journal.append(
            {
                "item": item,
                **entry,
                "deployment": place.name,
                "run": run.name if status != "failed" else None,
                "status": status,
                "cause": _CAUSES[status][0],
                "message": _CAUSES[status][1],
                "started_at": _iso(clock),
                "finished_at": _iso(ends),
            }
        )
        clock = ends.replace(microsecond=0) + timedelta(seconds=30)
    configuration = _synthetic_configuration(combinations[0], scenarios, iterations)
    document = _synthetic_document(experiment, combinations, configuration, {"deployments": deployments, "runs": runs})
    _write_synthetic_plan(campaign, document, seed, journal)
    return campaign


_OFF = "keystone-1 to database-1 on database: 0.2 ms measured, 100.2 ms expected"
_CAUSES = {"ok": ("", ""), "refused": ("network", _OFF), "failed": ("hosts", "database-1 cannot be reached")}


@dataclass(frozen=True)
class _Drawn:
    """A synthetic run to be written."""

    directory: Path
    combination: Synthetic
    labels: Labels
    begins: datetime
    random: numpy.random.Generator
    slower: float
    iterations: int
    failure_share: float
    status: str


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _synthetic_configuration(combination: Synthetic, scenarios: Sequence[str], iterations: int) -> Configuration:
    document = {
        "name": f"synthetic-{combination.backend}",
        "provider": "nspawn",
        "machines": [
            {"roles": ["database"], "count": combination.nodes},
            {"roles": ["keystone"], "count": 1},
            {"roles": ["rally"], "count": 1},
        ],
        "database": {"backend": combination.backend},
        "bench": {"scenarios": list(scenarios), "times": iterations, "concurrency": min(2, iterations)},
    }
    return check(document, source="synthetic")


def _synthetic_deployment(
    root: Path, combinations: Sequence[Synthetic], combination: Synthetic, repetition: int
) -> Path:
    """The deployment's directory, with its state and a password as a real one has."""
    number = list(combinations).index(combination)
    place = root / f"synthetic-{combination.backend}-20261122T0{repetition:d}{number:02d}00Z"
    secret = f"not-a-real-password-{combination.backend}-{number}-{repetition}"
    if not place.exists():
        (place / "runs").mkdir(parents=True, mode=0o700)
        configuration = _synthetic_configuration(combination, ("keystone/authenticate",), 1)
        made = State(
            name=configuration.name,
            created_at="2026-11-22T09:00:00.000+00:00",
            configuration=configuration.model_dump(mode="json"),
            resources=resources(configuration),
            destroyed_at="2026-11-22T20:00:00.000+00:00",
        )
        write_json(place / "deployment.json", asdict(made))
        write_json(place / "secrets.json", {"keystone_admin_password": secret})
    return place


def _synthetic_run(drawn: _Drawn, scenarios: Sequence[str], configuration: Configuration) -> datetime:
    """Write the run's directory; returns when it ended."""
    drawn.directory.mkdir(mode=0o700)
    hosts = resources(configuration).hosts
    begins, found, tables = drawn.begins.timestamp(), list[ScenarioRecord](), []
    for index, scenario in enumerate(scenarios, 1):
        table = _synthetic_samples(drawn, scenario, begins)
        first, last = begins, float((table["started_at"] + table["value"]).max())
        found.append(
            ScenarioRecord(
                name=scenario,
                index=index,
                started_at=_iso(datetime.fromtimestamp(first, timezone.utc)),
                finished_at=_iso(datetime.fromtimestamp(last, timezone.utc)),
                clients=(Outcome(client="rally-1-to-keystone-1", status="ok"),),
            )
        )
        tables.append(table)
        _synthetic_counters(drawn, hosts, slug(index, scenario))
        begins = last + 5.0
    _write_tables(drawn.directory / "samples.csv", tables)
    ends = datetime.fromtimestamp(last, timezone.utc)
    for host in hosts:
        _synthetic_usage(drawn, host, last)
    record.write(_synthetic_record(drawn, hosts, configuration, found, ends), drawn.directory)
    return ends


def _synthetic_samples(drawn: _Drawn, scenario: str, begins: float) -> pandas.DataFrame:
    """Iterations in two lanes (a concurrency of 2), with one atomic action each."""
    import numpy
    import pandas

    combination, random, n = drawn.combination, drawn.random, drawn.iterations
    service_s = combination.service_ms / 1000 * random.lognormal(0.0, 0.15, n)
    trips_s = (combination.round_trips + combination.replays) * combination.rtt_ms / 1000
    value = drawn.slower * (service_s + trips_s + combination.commits * combination.replication_rtt_ms / 1000)
    failed = random.random(n) < drawn.failure_share
    value[failed] *= 0.1
    started = numpy.empty(n)
    for lane in (0, 1):
        started[lane::2] = begins + numpy.concatenate([[0.0], numpy.cumsum(value[lane::2])[:-1]])[: len(value[lane::2])]
    iteration = pandas.DataFrame(
        {
            "run": drawn.directory.name,
            "scenario": scenario,
            "client": "rally-1-to-keystone-1",
            "iteration": numpy.arange(n),
            "metric": "iteration",
            "value": value,
            "unit": "s",
            "started_at": started,
            "outcome": numpy.where(failed, "failed", "ok"),
            "error": numpy.where(failed, "ConnectFailure: refused", ""),
            "window": "steady",
            "intended_at": None,
        },
        columns=list(COLUMNS),
    )
    action = iteration.assign(metric="keystone_v3.act", value=0.4 * value, started_at=started + 0.6 * value)
    return pandas.concat([iteration, action]).sort_values(["iteration", "metric"], kind="stable")


def _write_tables(path: Path, tables: Sequence[pandas.DataFrame]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        for number, table in enumerate(tables):
            table.to_csv(stream, index=False, header=number == 0, float_format="%.6f", lineterminator="\n")


def _synthetic_counters(drawn: _Drawn, hosts: Sequence[Host], name: str) -> None:
    """What keystone_crdb and the databases count; the database a little more, as it has other work."""
    combination, n = drawn.combination, drawn.iterations
    wire = {"begins": 0.2, "rollbacks": 0.18, "pings": 0.2}
    total = {event: round(share * combination.round_trips) * n for event, share in wire.items()}
    total["commits"] = combination.commits * n
    total["statements"] = combination.round_trips * n - sum(total.values())
    total |= {"round_trips": combination.round_trips * n, "replays": combination.replays * n}
    total |= {"calls": 20 * n, "gave_up": 0, "reconnects": 0}
    ends = total["commits"] + total["rollbacks"] + total["pings"]
    database = {
        "postgresql": {"xact_commit": ends + 10, "xact_rollback": 0},
        "cockroachdb": {"sql_query_count": total["statements"] + total["pings"] + 10},
    }.get(combination.backend, {"Questions": total["round_trips"] + 10, "wsrep_replicated": total["commits"]})
    idle = dict.fromkeys(database, 0)
    for host in hosts:
        grown: Mapping[str, int] = {}
        if "keystone" in host.roles:
            place, grown = drawn.directory / "hosts" / host.name / traffic.DIRECTORY, total
        if "database" in host.roles:
            place = drawn.directory / "hosts" / host.name / traffic.DATABASE
            grown = database if host.name == "database-1" else idle  # the node that Keystone talks to
        if grown:
            place.mkdir(parents=True, exist_ok=True)
            before, after = dict.fromkeys(grown, 1000), {key: 1000 + value for key, value in grown.items()}
            keep: dict[str, Any] = {"before": before, "after": after}
            if "keystone" in host.roles:
                keep = {moment: {"total": values, "operations": {}} for moment, values in keep.items()}
            write_json(place / f"{name}.json", keep)


def _synthetic_usage(drawn: _Drawn, host: Host, ends: float) -> None:
    """The sampler's CSV: a process that uses a third of a core, on a machine of two."""
    name = {"database": drawn.combination.backend, "keystone": "uwsgi", "rally": "rally_client"}[host.roles[0]]
    begins, lines = drawn.begins.timestamp(), ["time,metric,name,value"]
    for step in range(51):
        at = (ends - begins) * step / 50
        lines += [f"{begins + at:.3f},cores,,2"] * (step == 0)
        for metric, what, value in (
            ("machine_cpu_s", "user", 0.9 * at),
            ("machine_cpu_s", "idle", 1.1 * at),
            ("process_cpu_s", name, 0.3 * at),
            ("process_rss_mb", name, 120.0),
        ):
            lines.append(f"{begins + at:.3f},{metric},{what},{value:.3f}")
    (drawn.directory / "hosts" / host.name).mkdir(parents=True, exist_ok=True)
    (drawn.directory / "hosts" / host.name / "usage.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _synthetic_network(drawn: _Drawn, hosts: Sequence[Host]) -> NetworkRecord:
    """RTT matrices as `phases.emulate` measures them."""
    combination = drawn.combination
    expected: list[Expected] = []
    for source, target in itertools.permutations(hosts, 2):
        rtt_ms, both = 0.2, {*source.roles, *target.roles}
        if both == {"database"}:
            rtt_ms = combination.replication_rtt_ms
        elif both == {"database", "keystone"}:
            rtt_ms = combination.rtt_ms
        expected.append(Expected(src=source.name, dst=target.name, network="database", rtt_ms=rtt_ms))
    off = drawn.status == "refused"
    rtt = tuple(
        RoundTrip(
            src=trip.src,
            dst=trip.dst,
            network=trip.network,
            samples=5,
            min_ms=round(trip.rtt_ms * 0.99, 4) if not off else 0.19,
            median_ms=trip.rtt_ms if not off else 0.2,
            max_ms=round(trip.rtt_ms * 1.02, 4) if not off else 0.25,
        )
        for trip in expected
    )
    delayed = max(combination.rtt_ms, combination.replication_rtt_ms) > 0.2
    pair = ["database", "database"] if combination.replication_rtt_ms > 0.2 else ["keystone", "database"]
    rtt_ms = max(combination.rtt_ms, combination.replication_rtt_ms)
    matrix = Matrix(at=_iso(drawn.begins), rtt=rtt)
    return NetworkRecord(
        emulator="netem" if delayed else "none",
        constraints=(Constraint(between=pair, delay_ms=(rtt_ms - 0.2) / 2),) if delayed else (),
        tolerance=Tolerance(),
        mismatch="refuse",
        expected=tuple(expected),
        before=matrix,
        after=matrix,
        verdict="off" if off else "ok",
        deviations=(_OFF,) if off else (),
    )


def _synthetic_record(
    drawn: _Drawn,
    hosts: Sequence[Host],
    configuration: Configuration,
    scenarios: Sequence[ScenarioRecord],
    ends: datetime,
) -> RunRecord:
    url = f"http://{next(host.address for host in hosts if 'keystone' in host.roles)}:5000/v3"
    return RunRecord(
        synthetic=True,
        run=drawn.directory.name,
        deployment=drawn.directory.parent.parent.name,
        started_at=_iso(drawn.begins),
        finished_at=_iso(ends),
        provider="synthetic",
        provenance=_synthetic_provenance(),
        configuration=configuration,
        hosts=tuple(replace(host, system=None) for host in hosts),
        clients=(
            Client(
                name="rally-1-to-keystone-1", rally="rally-1", keystone="keystone-1", auth_url=url, region="keystone-1"
            ),
        ),
        scenarios=tuple(scenarios),
        network=_synthetic_network(drawn, hosts),
        campaign=drawn.labels,
        warnings=("synthetic: these numbers were drawn at random, nothing was measured",),
    )


def _synthetic_provenance() -> Provenance:
    return Provenance(
        enos_crdb=enos_crdb.__version__,
        commit=None,
        dirty=None,
        command=("synthetic",),
        machine=Machine(kernel="-", architecture="-", python="-", cpus=2, load_average=(0.0, 0.0, 0.0)),
        libraries={},
    )


def _synthetic_level(factor: str, level: Any, combination: Synthetic) -> dict[str, Any]:
    """The values of the deployment file that a level of `grid`'s factors stands for."""
    if factor == "backend":
        return {"database": {"backend": level}, "machines.0.count": combination.nodes}
    if factor == "delay_ms":
        between = ["database", "keystone"]
        constraint = {"between": between, "delay_ms": float(level), "network": "database"}
        return {"emulation": {"constraints": [constraint] if float(level) else []}}
    return {"bench.reset": "scenario"}  # a factor of the test's own; its levels are labels only


def _synthetic_document(
    experiment: str, combinations: Sequence[Synthetic], configuration: Configuration, repetitions: Mapping[str, int]
) -> dict[str, Any]:
    """The experiment as it would have been written by hand."""
    levels: dict[str, dict[str, Any]] = {}
    for combination in combinations:
        for factor, level in combination.factors.items():
            levels.setdefault(factor, {}).setdefault(str(level), _synthetic_level(factor, level, combination))
    return {
        "experiment": experiment,
        "title": "A synthetic campaign",
        "description": "Numbers drawn at random; nothing was measured.",
        "authors": [{"name": "Nobody Inparticular", "orcid": "0000-0002-1825-0097", "affiliation": "Nowhere"}],
        "licence": "CC-BY-4.0",
        "doi": None,
        "keywords": ["synthetic"],
        "configuration": configuration.model_dump(mode="json"),
        "factors": {name: {"levels": found} for name, found in levels.items()},
        "exclude": [],
        "repetitions": dict(repetitions),
    }


def _write_synthetic_plan(
    campaign: Path, document: Mapping[str, Any], seed: int, journal: Sequence[Mapping[str, Any]]
) -> None:
    """Write ``campaign.json`` and ``journal.jsonl``."""
    planned = ("item", "combination", "factors", "deployment_repetition", "repetition", "block")
    write_json(
        campaign / "campaign.json",
        {
            "schema_version": 1,
            "synthetic": True,
            "experiment": {**document, "seed": seed},
            "seed": seed,
            "plan": [{key: line[key] for key in planned} for line in journal],
            "provenance": {"enos_crdb": enos_crdb.__version__, "commit": None, "dirty": None},
            "created_at": journal[0]["started_at"],
            "finished_at": journal[-1]["finished_at"],
        },
    )
    lines = "".join(json.dumps(line) + "\n" for line in journal)
    (campaign / "journal.jsonl").write_text(lines, encoding="utf-8")
