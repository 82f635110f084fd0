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
    bench = manifest["configuration"]["bench"]
    hosts = manifest["hosts"]
    cache = "no cache" if label["cache"] == "none" else f"cache {label['cache']}"
    rallies = [client["rally"] for client in manifest["clients"]]
    places = sorted({host["site"] for host in hosts})
    return {
        "database": f"{label['backend']} {label['backend_version']}".strip() + f" on {_names(hosts, 'database')}",
        "Keystone": f"{label['keystone_version']} (release {label['release']}) on {_names(hosts, 'keystone')}: "
        f"{label['workers']} workers x {label['threads']} threads, {cache}, "
        f"{label['password_hash_rounds']} hash rounds, {label['token_provider']} tokens, "
        f"keystone_crdb {label['keystone_crdb']}",
        "load": f"{label['load']}: {_amount(bench)}; "
        f"rally-openstack {label['rally_openstack_version']} on {', '.join(dict.fromkeys(rallies))}",
        "database state": {
            "scenario": "made anew before each scenario",
            "run": "made anew before the run",
            "never": "as it was",
        }[bench["reset"]],
        "made": _made(manifest),
        "hosts": f"{len(hosts)} ({manifest['provider']}), {label['system']}; sites: {', '.join(places)}",
    }


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
