"""The settings of a run that a reader must know to compare it with another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from enos_crdb.config.base import Section
from enos_crdb.config.bench import Bench
from enos_crdb.config.emulation import Constraint
from enos_crdb.record import NetworkRecord, Provenance, RunRecord

MUST_BE_EQUAL: Mapping[str, str] = {
    "rally-openstack": "versions of Rally differ in what they keep between iterations",
    "hash rounds": "most of an iteration may be password hashing",
    "machine": "another machine has other processors and disks",
    "provider": "hosts of another provider are other machines",
}
"""Setting -> why a difference there hides what is compared."""
FOLLOW = ("backend version", "backend options", "database hosts", "Keystone hosts", "sites", "Rallies")
"""Settings that go with another one: with the backend, or the number of hosts."""
COVERS: Mapping[str, str] = {
    "backend": r"configuration\.database\..*|versions\..*",
    "backend version": r"versions\..*",
    "backend options": r"configuration\.database\.[^.]+",
    "emulation": r"network\..*",
    "database hosts": r"(hosts|clients|versions|configuration\.machines)\..*",
    "Keystone hosts": r"(hosts|clients|versions|configuration\.machines)\..*",
    "sites": r"(hosts|clients|configuration\.machines)\..*",
    "installer": r"(configuration\.openstack|versions)\..*",
    "release": r"configuration\.openstack\.release|versions\..*",
    "Keystone": r"versions\..*",
    "cache": r"configuration\.openstack\.keystone\.cache",
    "hash rounds": r"configuration\.openstack\.keystone\.password_hash_rounds",
    "token provider": r"configuration\.openstack\.keystone\.token_provider",
    "workers": r"configuration\.openstack\.keystone\.workers",
    "threads": r"configuration\.openstack\.keystone\.threads",
    "keystone_crdb": r"configuration\.openstack\.keystone\.keystone_crdb",
    "load": r"configuration\.bench\.load|clients\..*",
    "placement": r"configuration\.bench\.placement|clients\..*",
    "Rallies": r"(hosts|clients|versions|configuration\.machines)\..*",
    "runner": r"configuration\.bench\.(runner\..*|times|concurrency)",
    "warm-up": r"configuration\.bench\.warm_up_s",
    "database state": r"configuration\.bench\.reset",
    "rally-openstack": r"versions\..*",
    "system": r"versions\..*|hosts\.[^.]+\.system\..*|configuration\.nspawn\.suite",
    "provider": r"provider|configuration\.provider|configuration\.(nspawn|vagrant|static|g5k)\..*|versions\..*",
    "machine": r"machine\..*|versions\.[^.]+\.(kernel|processors|memory_mb|architecture)",
}
"""Setting -> the aspects of a run (`identity`) that it puts in words: where it differs, they are not listed again."""
LOCAL_PROVIDERS = ("nspawn", "vagrant")
"""Their hosts are the machine that enos_crdb runs on."""


def settings(run: RunRecord, labels: Mapping[str, Any]) -> dict[str, str]:
    """Name -> value in words, in the order in which they are shown."""
    bench = run.configuration.bench
    stand = {host.site for host in run.with_role("database", "keystone")}
    found = {
        "backend": labels["backend"],
        "backend version": labels["backend_version"],
        "backend options": _options(run.configuration.database),
        "emulation": emulation(run.network),
        "database hosts": labels["database_hosts"],
        "Keystone hosts": labels["keystone_hosts"],
        "sites": len(stand),
        "installer": labels["installer"],
        "release": labels["release"],
        "Keystone": labels["keystone_version"],
        "cache": labels["cache"],
        "hash rounds": labels["password_hash_rounds"],
        "token provider": labels["token_provider"],
        "workers": labels["workers"],
        "threads": labels["threads"],
        "keystone_crdb": labels["keystone_crdb"],
        "load": labels["load"],
        "placement": bench.placement,
        "Rallies": labels["rallies"],
        "runner": _runner(bench),
        "warm-up": f"{bench.warm_up_s:g} s",
        "database state": f"made anew: {labels['reset']}",
        "rally-openstack": labels["rally_openstack_version"],
        "system": labels["system"],
        "provider": labels["provider"],
    }
    return {name: str(value) for name, value in found.items()}


def machine(made: Provenance) -> str:
    """The machine that enos_crdb ran on: with local hosts, also the one that was measured."""
    return f"{made.machine.architecture}, {made.machine.cpus or '?'} processors, Linux {made.machine.kernel}"


def _runner(bench: Bench) -> str:
    runner = bench.runner.model_dump()
    extra = ", ".join(f"{key} {_word(value)}" for key, value in runner.items() if key != "type" and value is not None)
    amount = f"{bench.concurrency} at once" if "duration_s" in runner else (
        f"{bench.times} iterations, {bench.concurrency} at once"
    )  # fmt: skip
    return f"{runner['type']}: {amount}" + (f", {extra}" if extra else "")


def _options(section: Section) -> str:
    """The backend's own options that are simple values; the whole section is in the record."""
    database = section.model_dump(mode="json")
    simple = (str, int, float, bool)
    shown = {key: value for key, value in database.items() if isinstance(value, simple) and value != ""}
    return ", ".join(f"{key} {_word(value)}" for key, value in shown.items() if key not in ("backend", "license_file"))


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def emulation(network: NetworkRecord | None) -> str:
    """The constraints that were in force, in words."""
    if network is None or not network.constraints:
        return "none"
    return "; ".join(_constraint(one) for one in network.constraints)


def _constraint(one: Constraint) -> str:
    between = " and ".join(one.between)
    parts = [f"{one.delay_ms:g} ms one way"] if one.delay_ms else []
    parts += [f"{one.loss_percent:g} % loss"] if one.loss_percent else []
    parts += [one.rate] if one.rate else []
    parts += [] if one.symmetric else ["one direction"]
    parts += ["across sites"] if one.across_sites else []
    return f"{between}: {', '.join(parts) or 'nothing'}"


def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """A key that sorts 2 before 10, in words too."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return tuple((0, float(part), "") if index % 2 else (1, 0.0, part) for index, part in enumerate(parts))
