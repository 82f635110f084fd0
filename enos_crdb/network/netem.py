"""Emulation by the hosts' own kernels (netem), in the classes and filters of EnOSlib's `NetemHTB`.

EnOSlib says what to run; it is run through our own door, because EnOSlib's own `deploy` joins the commands with ``;``
and reports success where a kernel without netem installed everything but the delay. For the same reason what was
installed is read back. Everything is done where a packet leaves, so there is no ingress and no ifb to clean up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from enos_crdb.config.emulation import Link
from enos_crdb.door import Call, Door, program
from enos_crdb.errors import NetworkError
from enos_crdb.model import Host

LINE_KBIT = 10_000_000
"""What a link without a rate is limited to: EnOSlib's class needs a rate, and this is its own default."""

PACKET_BITS = 12_000


@dataclass(frozen=True, kw_only=True)
class TrafficControl:
    """What a host says of itself: address -> interface, queueing disciplines as tc lists them, has it netem?"""

    devices: Mapping[str, str]
    qdiscs: Sequence[Mapping[str, Any]]
    netem: bool
    why: str = ""


def survey(door: Door, hosts: Sequence[Host]) -> dict[str, TrafficControl]:
    """What the hosts have, by name. Raises `NetworkError` when one does not say."""
    return _ask(door, hosts, "survey", {host.name: sorted(host.addresses.values()) for host in hosts})


def install(door: Door, hosts: Sequence[Host], links: Sequence[Link]) -> None:
    """Install what `links` say and look at the result; whoever calls has cleared what was there.

    Raises `NetworkError` when a command fails, or when something is not there afterwards.
    """
    known = survey(door, hosts)
    commands = {host.name: host_commands(host, hosts, links, known[host.name].devices) for host in hosts}
    found = _ask(door, hosts, "apply", _addresses(hosts, links), commands)
    if lacking := missing(hosts, links, found):
        raise NetworkError(
            "\n".join(lacking) + "\nThe rules were accepted and are not there: does the hosts' kernel have netem?"
        )


def clear(door: Door, hosts: Sequence[Host], links: Sequence[Link]) -> None:
    """Remove what `install` made for `links`, and nothing else."""
    concerned = [host for host in hosts if any(link.src == host.name for link in links)]
    if concerned:
        _ask(door, concerned, "clear", _addresses(hosts, links))


def faults(door: Door, hosts: Sequence[Host], links: Sequence[Link]) -> list[str]:
    """What is not in force of `links`, as the hosts see it, a sentence each."""
    try:
        return missing(hosts, links, survey(door, hosts))
    except NetworkError as error:
        return [str(error)]


def host_commands(host: Host, hosts: Sequence[Host], links: Sequence[Link], devices: Mapping[str, str]) -> list[str]:
    """Command lines of tc that do on `host` what `links` say of the packets it sends. Equal for equal input."""
    from enoslib.service.emul.htb import HTBConstraint  # EnOSlib takes half a second to import

    addresses = {other.name: other.addresses for other in hosts}
    constraints = [
        HTBConstraint(
            device=devices[host.addresses[link.network]],
            target=addresses[link.dst][link.network],
            delay=f"{link.delay_ms:g}ms limit {queue_limit(link)}",
            rate=f"{int(link.rate_kbit or LINE_KBIT)}kbit",
            loss=f"{link.loss_percent:g}%" if link.loss_percent else None,
        )
        for link in links
        if link.src == host.name and not link.idle
    ]
    roots = list(dict.fromkeys(command for one in constraints for command in one.add_commands()))
    # Not EnOSlib's HTBSource: it numbers the members of a set, in another order in every process.
    return roots + [command for number, one in enumerate(constraints) for command in one.commands(number)]


def queue_limit(link: Link) -> int:
    """Packets under way at full speed, twice; netem's own limit of 1000 would drop them on a long fast link."""
    under_way = (link.rate_kbit or LINE_KBIT) * link.delay_ms / PACKET_BITS
    return max(1000, int(2 * under_way))


def missing(hosts: Sequence[Host], links: Sequence[Link], found: Mapping[str, TrafficControl]) -> list[str]:
    """What `links` ask for and tc does not show, a sentence per interface."""
    sentences = []
    for host in hosts:
        for network, address in host.addresses.items():
            wanted = sorted(
                (link.delay_ms, link.loss_percent > 0)
                for link in links
                if (link.src, link.network) == (host.name, network) and not link.idle
            )
            device = found[host.name].devices.get(address)
            present = sorted(_installed(found[host.name].qdiscs, device))
            if wanted and not _alike(wanted, present):
                sentences.append(
                    f"{host.name}: {device or f'the interface of {address}'} should delay packets to {len(wanted)} "
                    f"hosts ({_listed(wanted)}), tc shows {len(present)} ({_listed(present) or 'none'})."
                )
    return sentences


def _installed(qdiscs: Sequence[Mapping[str, Any]], device: str | None) -> list[tuple[float, bool]]:
    """Delay in milliseconds, and whether packets are lost, of every netem of an interface."""
    return [
        # tc writes seconds, and no delay at all when it is 0.
        (float(options.get("delay", {}).get("delay", 0.0)) * 1000, any(key.startswith("loss") for key in options))
        for qdisc in qdiscs
        if qdisc.get("dev") == device and qdisc.get("kind") == "netem"
        for options in [qdisc.get("options", {})]
    ]


def _alike(wanted: Sequence[tuple[float, bool]], present: Sequence[tuple[float, bool]]) -> bool:
    return len(wanted) == len(present) and all(
        abs(one[0] - other[0]) < 0.01 and one[1] == other[1] for one, other in zip(wanted, present, strict=True)
    )


def _listed(values: Sequence[tuple[float, bool]]) -> str:
    return ", ".join(f"{delay:g} ms" + (" with loss" if loss else "") for delay, loss in values)


def refuse_foreign(hosts: Sequence[Host], links: Sequence[Link], found: Mapping[str, TrafficControl]) -> None:
    """Raise `NetworkError` where rules of others would be replaced: the kernel's own have no handle."""
    for host in hosts:
        for address in _addresses(hosts, links).get(host.name, []):
            device = found[host.name].devices.get(address)
            if device is None:
                raise NetworkError(f"{host.name} has no interface with the address {address} any more; deploy again.")
            for qdisc in found[host.name].qdiscs:
                if qdisc.get("dev") == device and qdisc.get("root") and qdisc.get("handle") not in (None, "0:"):
                    raise NetworkError(
                        f"{host.name}: {device} already has rules that enos_crdb did not make "
                        f"({qdisc.get('kind')} {qdisc.get('handle')}).\n"
                        f"If nobody needs them, remove them there with `tc qdisc del dev {device} root`."
                    )


def _addresses(hosts: Sequence[Host], links: Sequence[Link]) -> dict[str, list[str]]:
    """Addresses whose interfaces `links` concern, by the name of the host."""
    return {
        host.name: sorted({host.addresses[link.network] for link in links if link.src == host.name and not link.idle})
        for host in hosts
    }


def _ask(
    door: Door,
    hosts: Sequence[Host],
    action: str,
    addresses: Mapping[str, Sequence[str]],
    commands: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, TrafficControl]:
    calls = [
        Call(
            host=host,
            argv=program("traffic_control"),
            request={
                "action": action,
                "addresses": list(addresses.get(host.name, ())),
                "commands": list((commands or {}).get(host.name, ())),
            },
            timeout_s=120.0,
        )
        for host in hosts
    ]
    answers = door.run(f"Traffic control: {action}", calls)
    if failed := [f"{answer.host}: {answer.why}" for answer in answers if not answer.ok]:
        raise NetworkError(f"The hosts could not be asked to {action} their network rules.\n" + "\n".join(failed))
    found = {answer.host: answer.value for answer in answers}
    return {
        name: TrafficControl(devices=said["devices"], qdiscs=said["qdiscs"], netem=said["netem"], why=said["why"])
        for name, said in found.items()
    }
