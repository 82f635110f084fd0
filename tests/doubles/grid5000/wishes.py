"""What a job asks for: resource strings as EnOSlib writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.doubles.grid5000 import messages
from tests.doubles.grid5000.reference import Site, cluster_of

VLAN_KINDS = ("kavlan-local", "kavlan", "kavlan-global")


class Refused(Exception):
    """OAR does not take the job; the message is what `oarsub` prints."""


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """``count`` nodes of a cluster, or among named ones."""

    count: int
    cluster: str | None = None
    among: tuple[str, ...] = ()

    def fits(self, fqdn: str) -> bool:
        return fqdn in self.among if self.among else self.cluster in (None, cluster_of(fqdn))


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A parsed resource string."""

    nodes: tuple[Nodes, ...]
    vlans: tuple[str, ...]
    subnets: int
    walltime_s: int


def parse(text: str) -> Wish:
    """Read ``{...}/nodes=2+{...}/vlan=1,walltime=02:00:00``. Raises `Refused`."""
    groups, _, walltime = text.partition(",walltime=")
    nodes: list[Nodes] = []
    vlans: list[str] = []
    subnets = 0
    for group in groups.split("+"):
        wanted = re.fullmatch(r"(?:\{(?P<filter>.*)\})?/?(?P<what>\w+)=(?P<count>\d+)", group.strip())
        if wanted is None:
            raise Refused(messages.BAD_RESOURCES.format(group))
        condition, what, count = wanted["filter"] or "", wanted["what"], int(wanted["count"])
        if what in ("nodes", "host"):
            nodes.append(_nodes(condition, count))
        elif what == "vlan":
            vlans += [_vlan_kind(condition)] * count
        elif re.fullmatch(r"slash_\d\d", what):
            subnets += count
        else:
            raise Refused(messages.BAD_RESOURCES.format(group))
    return Wish(nodes=tuple(nodes), vlans=tuple(vlans), subnets=subnets, walltime_s=seconds(walltime or "1:0:0"))


def seconds(walltime: str) -> int:
    """Length of ``hours[:minutes[:seconds]]``. Raises `Refused`."""
    if not re.fullmatch(r"\d+(:\d{1,2}){0,2}", walltime):
        raise Refused(messages.BAD_RESOURCES.format(f"walltime={walltime}"))
    hours, minutes, rest = (*map(int, walltime.split(":")), 0, 0)[:3]
    return hours * 3600 + minutes * 60 + rest


def _nodes(condition: str, count: int) -> Nodes:
    plain = condition.replace("(type='default' or type='disk') AND ", "").strip()
    if not plain:
        return Nodes(count=count)
    if cluster := re.fullmatch(r"cluster='([\w-]+)'", plain):
        return Nodes(count=count, cluster=cluster[1])
    if named := re.fullmatch(r"network_address in \((.*)\)", plain):
        return Nodes(count=count, among=tuple(re.findall(r"'([^']+)'", named[1])))
    raise Refused(messages.BAD_RESOURCES.format(condition))


def _vlan_kind(condition: str) -> str:
    kind = condition.replace("type=", "").strip("'")
    if kind not in VLAN_KINDS:
        raise Refused(messages.BAD_RESOURCES.format(condition))
    return kind


def choose(wish: Wish, site: Site, free: Callable[[str], bool]) -> list[str] | None:
    """Nodes that satisfy the wish among the free ones, in the order of OAR's database; ``None``: not enough."""
    left = [fqdn for fqdn in site.node_names() if free(fqdn)]
    taken: list[str] = []
    for group in wish.nodes:
        some = [fqdn for fqdn in left if group.fits(fqdn)][: group.count]
        if len(some) < group.count:
            return None
        taken += some
        left = [fqdn for fqdn in left if fqdn not in some]
    return [fqdn for fqdn in site.node_names() if fqdn in taken]


def choose_vlans(wish: Wish, site: Site, used: Sequence[str]) -> list[str] | None:
    """Identifiers of free VLANs of the kinds asked for; ``None``: not enough."""
    known = [uid for uid in site.networks if uid != "default"]
    kinds = {
        "kavlan-local": [uid for uid in known if int(uid) <= 3],
        "kavlan": [uid for uid in known if 4 <= int(uid) <= 9],
        "kavlan-global": [site.global_vlan],
    }
    chosen: list[str] = []
    for kind in wish.vlans:
        free = [uid for uid in kinds[kind] if uid not in used and uid not in chosen]
        if not free:
            return None
        chosen.append(free[0])
    return chosen
