"""Which node plays which host: the same each time, and the last names first when nodes are lacking."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from enos_crdb.config.g5k import Batch
from enos_crdb.config.resources import Machines
from enos_crdb.errors import ProviderError


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """For sorting: paradoxe-2 comes before paradoxe-10."""
    return tuple((int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name) if part)


def in_order(batch: Batch, nodes: Sequence[str]) -> list[str]:
    """Nodes of a batch as its hosts take them: in the file's order when it names them."""
    given = {server: place for place, server in enumerate(batch.servers)}
    return sorted(nodes, key=lambda node: (given.get(node, len(given)), natural(node)))


def assign(asked: Sequence[Batch], nodes: Callable[[str], Sequence[str]]) -> dict[str, str]:
    """Host -> node. `nodes` gives those of one of EnOSlib's roles."""
    return {
        name: node
        for batch in asked
        for name, node in zip(batch.names, in_order(batch, nodes(batch.role)), strict=False)
    }


def check_enough(
    asked: Sequence[Batch], machines: Sequence[Machines], present: Mapping[str, str], broken: Sequence[str]
) -> None:
    """Raise `ProviderError` unless every entry of ``machines`` has as many hosts as it needs."""
    for index, group in enumerate(machines):
        names = [name for batch in asked if batch.index == index for name in batch.names]
        absent = [name for name in names if name not in present]
        if len(names) - len(absent) < group.enough:
            raise ProviderError(_too_few(group, index, absent, broken))


def _too_few(group: Machines, index: int, absent: Sequence[str], broken: Sequence[str]) -> str:
    count = group.count - len(absent)
    said = f"machines.{index}: {count} of {group.count} hosts came, {group.enough} are needed; missing: "
    why = f"kadeploy failed three times on {', '.join(sorted(broken, key=natural))}" if broken else "OAR gave no more"
    remedy = (
        "Usually a node is broken, or g5k.env_name does not exist or does not fit the cluster. `enos_crdb destroy`, "
        "then deploy again for other nodes; or allow fewer with `min`."
        if broken
        else "`enos_crdb destroy`, then deploy again; or allow fewer with `min`."
    )
    return f"{said}{', '.join(absent)} ({why}).\n{remedy}"
