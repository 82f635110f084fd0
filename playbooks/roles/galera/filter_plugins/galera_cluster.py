"""Filters of the Ansible role: who may start the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def primary(names: Iterable[str], hostvars: Mapping[str, Any]) -> list[str]:
    """The nodes that said they are in a primary component."""
    return [name for name in names if hostvars[name].get("__galera_state", {}).get("primary")]


def seed(positions: Mapping[str, Mapping[str, Any]], first: str) -> str:
    """The node a stopped cluster is started from: the one whose data got furthest.

    ``positions`` maps every node to ``uuid`` (history of its data, empty for none) and ``seqno`` (last
    transaction). A cluster that never ran is started from `first`. Raises when the nodes hold different
    histories, because starting from one would silently throw the other away.
    """
    histories = {str(where["uuid"]) for where in positions.values()} - {""}
    if not histories:
        return first
    if len(histories) > 1:
        held = ", ".join(
            f"{name}: {where['uuid'] or 'none'}:{where['seqno']}" for name, where in sorted(positions.items())
        )
        raise AnsibleFilterError(
            f"the data of the stopped Galera nodes come from different clusters ({held}). Starting one would "
            "throw the others' away: purge the data with `destroy`, or remove those of the wrong node"
        )
    candidates = {name: int(where["seqno"]) for name, where in positions.items() if where["uuid"]}
    furthest = max(candidates.values())
    if furthest < 0:
        raise AnsibleFilterError(
            f"how far the data of the stopped Galera nodes got is unknown ({', '.join(sorted(candidates))}): no node "
            "can be chosen to start the cluster from. Run `destroy`, then `deploy`"
        )
    best = sorted(name for name, seqno in candidates.items() if seqno == furthest)
    return first if first in best else best[0]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"galera_primary": primary, "galera_seed": seed}
