"""What is said beside the numbers: on what, and under which load, they were measured."""

from __future__ import annotations

from pathlib import Path

from enos_crdb.config.bench import Bench, Constant, ConstantForDuration, OpenLoop, Rps
from enos_crdb.config.openstack import Keystone
from enos_crdb.loading import labels
from enos_crdb.record import RunRecord


def facts(directory: Path, run: RunRecord) -> dict[str, str]:
    """What is said beside the numbers, in words."""
    label = labels(directory, run)
    bench = run.configuration.bench
    cache = {"none": "no cache", "request": "cache within a request"}.get(label["cache"], f"cache {label['cache']}")
    rallies = [client.rally for client in run.clients]
    places = sorted({host.site for host in run.hosts})
    return {
        "database": f"{label['backend']} {label['backend_version']}".strip() + f" on {_names(run, 'database')}",
        "Keystone": f"{label['keystone_version']} (release {label['release']} by {label['installer']}) "
        f"on {_names(run, 'keystone')}: "
        f"{label['workers']} workers x {label['threads']} threads, {cache}, "
        f"{label['password_hash_rounds']} hash rounds, {label['token_provider']} tokens, "
        f"keystone_crdb {label['keystone_crdb']}",
        "load": f"{label['load']}: {_amount(bench)}; "
        f"rally-openstack {label['rally_openstack_version']} on {', '.join(dict.fromkeys(rallies))}",
        **_windows(run),
        **_queue(bench, run.configuration.openstack.keystone),
        "database state": {
            "scenario": "made anew before each scenario",
            "run": "made anew before the run",
            "never": "as it was",
        }[bench.reset],
        "made": _made(run),
        "hosts": f"{len(run.hosts)} ({run.provider}), {label['system']}; sites: {', '.join(places)}",
    }


def _windows(run: RunRecord) -> dict[str, str]:
    """How many iterations are in no statistic, and why."""
    warm_up = sum(scenario.load.warm_up for scenario in run.scenarios)
    after = sum(scenario.load.after for scenario in run.scenarios)
    bench = run.configuration.bench
    left_out = [f"{warm_up} iterations of the first {bench.warm_up_s:g} s (warm-up)"] if warm_up else []
    left_out += [f"{after} iterations after the steady {bench.steady_s:g} s"] if after else []
    return {"left out": f"{', '.join(left_out)}; kept in samples.csv, and in SQL"} if left_out else {}


def _queue(bench: Bench, keystone: Keystone) -> dict[str, str]:
    """Not a fault, but what a closed loop with more clients than Keystone has workers measures."""
    serving = keystone.workers * keystone.threads
    closed = isinstance(bench.runner, Constant | ConstantForDuration)
    if not closed or bench.concurrency <= serving:
        return {}
    return {"queue": f"{bench.concurrency} at once for {serving} workers: durations contain waiting for a worker"}


def _made(run: RunRecord) -> str:
    code = run.provenance
    commit = f", commit {code.commit[:10]}" if code.commit else ""
    changed = " with uncommitted changes" if code.dirty else ""
    return f"{run.started_at[:19]}Z by enos_crdb {code.enos_crdb}{commit}{changed}"


def _names(run: RunRecord, role: str) -> str:
    names = run.names(role)
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} ... {names[-1]} ({len(names)})"


def _amount(bench: Bench) -> str:
    runner = bench.runner
    if isinstance(runner, ConstantForDuration):
        return f"{bench.concurrency} iterations at once for {runner.duration_s:g} s per Rally"
    if isinstance(runner, Rps):
        return f"{bench.times} iterations, {runner.rps:g} started every second, per Rally"
    if isinstance(runner, OpenLoop):
        amount = f"{runner.duration_s:g} s" if runner.duration_s is not None else f"{bench.times} iterations"
        how = "evenly" if runner.arrivals == "even" else f"at random (seed {runner.seed})"
        return (
            f"{amount}, {runner.rate_per_s:g} meant to start every second, {how}, "
            f"at most {bench.concurrency} at once, per Rally"
        )
    return f"{bench.times} iterations, {bench.concurrency} at once, per Rally"
