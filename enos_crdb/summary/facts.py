"""What is said beside the numbers: on what, and under which load, they were measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from enos_crdb.config.bench import Bench, Constant, ConstantForDuration, OpenLoop, Rps
from enos_crdb.config.openstack import Keystone
from enos_crdb.loading import said
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


def labels(directory: Path, run: RunRecord) -> dict[str, Any]:
    """What is said beside the numbers, in columns."""
    bench, openstack, backend = run.configuration.bench, run.configuration.openstack, run.backend
    keystone = openstack.keystone
    versions = Versions(directory, run)
    return {
        "backend": backend,
        "backend_version": versions.of("database", "database", backend, "mariadb-server", "mariadb"),
        "installer": openstack.installer,
        "release": openstack.release,
        "keystone_version": versions.of("keystone", "keystone"),
        "workers": keystone.workers,
        "threads": keystone.threads,
        "cache": keystone.cache,
        "password_hash_rounds": keystone.password_hash_rounds,
        "token_provider": keystone.token_provider,
        "keystone_crdb": keystone.keystone_crdb,
        "load": bench.load,
        "rallies": len(run.clients),
        "runner": bench.runner.type,
        "times": bench.times,
        "concurrency": bench.concurrency,
        "rate_per_s": _rate_per_s(bench),
        "placement": bench.placement,
        "warm_up_s": bench.warm_up_s,
        "steady_s": bench.steady_s or "",
        "reset": bench.reset,
        "database_hosts": len(run.names("database")),
        "keystone_hosts": len(run.names("keystone")),
        "rally_openstack_version": versions.of("rally", "rally-openstack"),
        "system": versions.of("database", "system", number=False),
        "provider": run.provider,
        "enos_crdb": run.provenance.enos_crdb,
        "commit": run.provenance.commit or "",
        "started_at": run.started_at,
    }


def _rate_per_s(bench: Bench) -> float | str:
    """Asked for by an open loop; empty in a closed one."""
    if isinstance(bench.runner, OpenLoop):
        return bench.runner.rate_per_s
    return bench.runner.rps if isinstance(bench.runner, Rps) else ""


class Versions:
    """What the hosts said they run: ``hosts/<host>/versions.json``, or the record's ``versions``."""

    def __init__(self, directory: Path, run: RunRecord) -> None:
        self._hosts = run.hosts
        self._flat = {host.name: dict(_leaves(said(directory, run, host.name))) for host in self._hosts}

    def of(self, role: str, *things: str, number: bool = True) -> str:
        """The version of the first of `things` known on the first host with `role` that knows it; ``?`` if none."""
        for thing in things:
            for host in self._hosts:
                told = self._flat[host.name].get(thing, "") if role in host.roles else ""
                if told:
                    digits = re.search(r"\d+(\.\d+)+", told) if number else None
                    return digits[0] if digits else told.splitlines()[0]
        return "?"


def _leaves(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield str(name), str(value)
