"""What is said beside the numbers: on what, and under which load, they were measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from enos_crdb.store import read_json


def facts(directory: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """What is said beside the numbers, in words."""
    label = labels(directory, manifest)
    configuration = manifest["configuration"]
    bench = configuration["bench"]
    hosts = manifest["hosts"]
    cache = {"none": "no cache", "request": "cache within a request"}.get(label["cache"], f"cache {label['cache']}")
    rallies = [client["rally"] for client in manifest["clients"]]
    places = sorted({host["site"] for host in hosts})
    return {
        "database": f"{label['backend']} {label['backend_version']}".strip() + f" on {_names(hosts, 'database')}",
        "Keystone": f"{label['keystone_version']} (release {label['release']} by {label['installer']}) "
        f"on {_names(hosts, 'keystone')}: "
        f"{label['workers']} workers x {label['threads']} threads, {cache}, "
        f"{label['password_hash_rounds']} hash rounds, {label['token_provider']} tokens, "
        f"keystone_crdb {label['keystone_crdb']}",
        "load": f"{label['load']}: {_amount(bench)}; "
        f"rally-openstack {label['rally_openstack_version']} on {', '.join(dict.fromkeys(rallies))}",
        **_windows(manifest),
        **_queue(bench, keystone=configuration["openstack"]["keystone"]),
        "database state": {
            "scenario": "made anew before each scenario",
            "run": "made anew before the run",
            "never": "as it was",
        }[bench["reset"]],
        "made": _made(manifest),
        "hosts": f"{len(hosts)} ({manifest['provider']}), {label['system']}; sites: {', '.join(places)}",
    }


def _windows(manifest: Mapping[str, Any]) -> dict[str, str]:
    """How many iterations are in no statistic, and why."""
    counts = [scenario.get("load", {}) for scenario in manifest["scenarios"]]
    warm_up, after = (sum(found.get(name, 0) for found in counts) for name in ("warm_up", "after"))
    bench = manifest["configuration"]["bench"]
    left_out = [f"{warm_up} iterations of the first {bench['warm_up_s']:g} s (warm-up)"] if warm_up else []
    left_out += [f"{after} iterations after the steady {bench['steady_s']:g} s"] if after else []
    return {"left out": f"{', '.join(left_out)}; kept in samples.csv, and in SQL"} if left_out else {}


def _queue(bench: Mapping[str, Any], *, keystone: Mapping[str, Any]) -> dict[str, str]:
    """Not a fault, but what a closed loop with more clients than Keystone has workers measures."""
    serving = keystone["workers"] * keystone["threads"]
    if bench["runner"]["type"] not in ("constant", "constant_for_duration") or bench["concurrency"] <= serving:
        return {}
    return {"queue": f"{bench['concurrency']} at once for {serving} workers: durations contain waiting for a worker"}


def _made(manifest: Mapping[str, Any]) -> str:
    code = manifest["provenance"]
    commit = f", commit {code['commit'][:10]}" if code["commit"] else ""
    changed = " with uncommitted changes" if code["dirty"] else ""
    return f"{manifest['started_at'][:19]}Z by enos_crdb {code['enos_crdb']}{commit}{changed}"


def _names(hosts: Sequence[Mapping[str, Any]], role: str) -> str:
    names = [host["name"] for host in hosts if role in host["roles"]]
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} ... {names[-1]} ({len(names)})"


def _amount(bench: Mapping[str, Any]) -> str:
    runner = bench["runner"]
    if runner["type"] == "constant_for_duration":
        return f"{bench['concurrency']} iterations at once for {runner['duration_s']:g} s per Rally"
    if runner["type"] == "rps":
        return f"{bench['times']} iterations, {runner['rps']:g} started every second, per Rally"
    if runner["type"] == "open_loop":
        amount = f"{runner['duration_s']:g} s" if runner["duration_s"] is not None else f"{bench['times']} iterations"
        how = "evenly" if runner["arrivals"] == "even" else f"at random (seed {runner['seed']})"
        return (
            f"{amount}, {runner['rate_per_s']:g} meant to start every second, {how}, "
            f"at most {bench['concurrency']} at once, per Rally"
        )
    return f"{bench['times']} iterations, {bench['concurrency']} at once, per Rally"


def labels(directory: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What is said beside the numbers, in columns."""
    configuration = manifest["configuration"]
    bench, openstack = configuration["bench"], configuration["openstack"]
    keystone, backend = openstack["keystone"], configuration["database"]["backend"]
    versions = Versions(directory, manifest)
    return {
        "backend": backend,
        "backend_version": versions.of("database", "database", backend, "mariadb-server", "mariadb"),
        "installer": openstack.get("installer", "pypi"),
        "release": openstack["release"],
        "keystone_version": versions.of("keystone", "keystone"),
        "workers": keystone["workers"],
        "threads": keystone["threads"],
        "cache": keystone["cache"],
        "password_hash_rounds": keystone["password_hash_rounds"],
        "token_provider": keystone["token_provider"],
        "keystone_crdb": keystone.get("keystone_crdb", "off"),  # runs of 0.1.0 had none
        "load": bench["load"],
        "rallies": len(manifest["clients"]),
        "runner": bench["runner"]["type"],
        "times": bench["times"],
        "concurrency": bench["concurrency"],
        "rate_per_s": bench["runner"].get("rate_per_s", bench["runner"].get("rps", "")),
        "placement": bench.get("placement", "rally"),
        "warm_up_s": bench.get("warm_up_s", 0.0),
        "steady_s": bench.get("steady_s") or "",
        "reset": bench["reset"],
        "database_hosts": sum("database" in host["roles"] for host in manifest["hosts"]),
        "keystone_hosts": sum("keystone" in host["roles"] for host in manifest["hosts"]),
        "rally_openstack_version": versions.of("rally", "rally-openstack"),
        "system": versions.of("database", "system", number=False),
        "provider": manifest["provider"],
        "enos_crdb": manifest["provenance"]["enos_crdb"],
        "commit": manifest["provenance"]["commit"] or "",
        "started_at": manifest["started_at"],
    }


class Versions:
    """What the hosts said they run: ``hosts/<host>/versions.json``, or the manifest's ``versions``."""

    def __init__(self, directory: Path, manifest: Mapping[str, Any]) -> None:
        self._hosts = manifest["hosts"]
        self._flat = {host["name"]: dict(_leaves(said(directory, manifest, host["name"]))) for host in self._hosts}

    def of(self, role: str, *things: str, number: bool = True) -> str:
        """The version of the first of `things` known on the first host with `role` that knows it; ``?`` if none."""
        for thing in things:
            for host in self._hosts:
                told = self._flat[host["name"]].get(thing, "") if role in host["roles"] else ""
                if told:
                    digits = re.search(r"\d+(\.\d+)+", told) if number else None
                    return digits[0] if digits else told.splitlines()[0]
        return "?"


def said(directory: Path, manifest: Mapping[str, Any], host: str) -> Mapping[str, Any]:
    """What `collect` read on a host: versions of things, packages, virtualenvs, kernel."""
    path = directory / "hosts" / host / "versions.json"
    found: Mapping[str, Any] = read_json(path) if path.exists() else manifest["versions"].get(host, {})
    return found


def _leaves(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield str(name), str(value)
