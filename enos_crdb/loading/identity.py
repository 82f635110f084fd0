"""What makes two runs repetitions of one another: the content of all that can change a number.

Everything that a run's record holds counts, and what the hosts said of themselves, unless `NOT_COUNTED` names it with
the reason. A list of what counts would miss what nobody thought of.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from enos_crdb.record import RunRecord

NOT_COUNTED: Mapping[str, str] = {
    r"configuration\.name": "a name",
    r"configuration\.emulation\..*": "what was in force counts, and is under `network`; how it is judged is no cause",
    r"configuration\.bench\.scenarios(\..*)?": "each scenario is compared with itself",
    r"configuration\.(nspawn|vagrant)\.(subnet|networks?)(\..*)?": "addresses are chosen anew by each deployment",
    r"clients\.[^.]+\.auth_url": "holds an address, chosen anew by each deployment",
    r"hosts\.[^.]+\.address(es)?(\..*)?": "chosen anew by each deployment; the way between hosts is measured",
    r"machine\.load_average(\..*)?": "of a moment; a busy machine is warned of",
    r"machine\.python": "the engine's, which waits while Rally loads",
    r"engine\.libraries\..*": "the engine's, which waits while Rally loads",
    r"engine\.command(\..*)?": "words on a command line; what they asked for is in `configuration`",
}
"""Aspects (regular expressions, whole paths) that may differ between repetitions, and why."""
_NOT_COUNTED = re.compile("|".join(NOT_COUNTED))


def aspects(run: RunRecord, said: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Path -> value, of everything that counts. ``said``: host -> what `collect` read there.

    Values are texts as JSON writes them, without quotation marks.
    """
    made = asdict(run.provenance)
    machine = made.pop("machine")
    document = {
        "configuration": run.configuration.model_dump(mode="json"),
        "network": _network(run),
        "hosts": {host.name: {**asdict(host), "roles": sorted(host.roles)} for host in run.hosts},
        "clients": {client.name: asdict(client) for client in run.clients},
        "versions": said,
        "machine": machine,
        "engine": made,
        "provider": run.provider,
        "synthetic": run.synthetic,
    }
    return {path: value for path, value in _leaves("", document) if not _NOT_COUNTED.fullmatch(path)}


def digest(found: Mapping[str, str]) -> str:
    """One word for all aspects: equal for repetitions, and for nothing else."""
    return hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()


def but_for_the_network(found: Mapping[str, str]) -> dict[str, str]:
    """The aspects of runs that differ in their network only are equal without it."""
    return {path: value for path, value in found.items() if not path.startswith("network.")}


def _network(run: RunRecord) -> dict[str, Any]:
    if run.network is None or not run.network.constraints:
        return {}
    return {
        "emulator": run.network.emulator,
        "constraints": [constraint.model_dump(mode="json") for constraint in run.network.constraints],
    }


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), inner)
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(f"{path}.{index}", inner)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)
