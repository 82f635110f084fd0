"""Round trips between hosts, measured by the hosts themselves through the Ansible role ``emulation``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from enos_crdb.ansible import Ansible, PlaybookResult
from enos_crdb.config.emulation import Pair
from enos_crdb.model import Host
from enos_crdb.record import Expected, RoundTrip

PLAYBOOK = "emulation-measure.yml"
SAMPLES = 15
INTERVAL_S = 0.06
RETRANSMISSION_S = 1.0
"""When Linux sends a lost SYN again: an answer after that tells the delay of the timer, not of the network."""


def pairs(hosts: Sequence[Host]) -> list[Pair]:
    """Every ordered pair of hosts, on each network that both have an address on.

    What leads to a host whose two networks are one is measured once, as ``database``, where constraints act.
    """
    return [
        (src.name, dst.name, network)
        for src in hosts
        for dst in hosts
        if src is not dst
        for network in src.addresses
        if network in dst.addresses and not (network == "control" and dst.on_one_network)
    ]


def targets(hosts: Sequence[Host], expected: Sequence[Expected]) -> dict[str, list[dict[str, Any]]]:
    """What each host has to measure, by its name. ``patience_s`` is how long an answer is waited for."""
    known = {trip.pair: trip.rtt_ms for trip in expected}
    by_name = {host.name: host for host in hosts}
    found: dict[str, list[dict[str, Any]]] = {host.name: [] for host in hosts}
    for src, dst, network in pairs(hosts):
        found[src].append(
            {
                "dst": dst,
                "network": network,
                "source": by_name[src].addresses[network],
                "address": by_name[dst].addresses[network],
                "patience_s": round(known.get((src, dst, network), 0.0) / 1000 + 0.9 * RETRANSMISSION_S, 3),
            }
        )
    return found


def measure(
    ansible: Ansible,
    hosts: Sequence[Host],
    *,
    expected: Sequence[Expected] = (),
    samples: int = SAMPLES,
) -> tuple[RoundTrip, ...]:
    """The matrix of round trips. A host that does not answer gives rows without times, never an error."""
    wanted = targets(hosts, expected)
    if not any(wanted.values()):
        return ()
    result = ansible.run(
        PLAYBOOK,
        hosts,
        variables={"emulation_samples": samples, "emulation_interval_s": INTERVAL_S},
        host_variables={name: {"emulation_targets": found} for name, found in wanted.items()},
        tolerate=True,
    )
    return tuple(trip for host in hosts for trip in _of_host(host.name, wanted[host.name], result))


def _of_host(name: str, wanted: Sequence[Mapping[str, Any]], result: PlaybookResult) -> list[RoundTrip]:
    answer = result.outputs.get(name, {}).get("Measure round trips", {}).get("stdout")
    if not answer:
        failure = next((failure for failure in result.failures if failure.host == name), None)
        reason = "it could not be reached" if failure and failure.unreachable else "it did not measure"
        why = f"{name}: {reason}" + (f", {failure.message.splitlines()[0]}" if failure and failure.message else "")
        return [RoundTrip(src=name, dst=target["dst"], network=target["network"], why=why) for target in wanted]
    return [summarise(name, row) for row in json.loads(answer)]


def summarise(src: str, row: Mapping[str, Any]) -> RoundTrip:
    """What the script on a host says about one target (``rtt_ms`` are single measurements), as one value."""
    times = row["rtt_ms"]
    measured = {"src": src, "dst": row["dst"], "network": row["network"], "samples": len(times), "lost": row["lost"]}
    if not times:
        return RoundTrip(**measured, why=row["error"] or "no answer came; is the host down, or a firewall in between?")
    return RoundTrip(
        **measured,
        min_ms=round(min(times), 3),
        median_ms=round(statistics.median(times), 3),
        max_ms=round(max(times), 3),
    )
