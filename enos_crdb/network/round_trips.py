"""Round trips between hosts, measured by the hosts themselves with the program ``round_trips``."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from enos_crdb.config.emulation import Pair
from enos_crdb.door import Answer, Call, Door, per_host, program
from enos_crdb.model import Host
from enos_crdb.record import Expected, RoundTrip

SAMPLES = 15
INTERVAL_S = 0.06
RETRANSMISSION_S = 1.0
"""When Linux sends a lost SYN again: an answer after that tells the delay of the timer, not of the network."""


MOST_PEERS = 48
"""Up to how many others each host measures. All pairs of 500 hosts would be a quarter of a million."""


def pairs(hosts: Sequence[Host]) -> list[Pair]:
    """The ordered pairs of hosts that are measured, on each network that both have an address on.

    Every pair, up to `MOST_PEERS` + 1 hosts; of more, each host measures and is measured by `MOST_PEERS` others, at
    even distances in the list of hosts. What leads to a host whose two networks are one is measured once, as
    ``database``, where constraints act.
    """
    count = len(hosts)
    peers = min(count - 1, MOST_PEERS)
    steps = sorted(1 + number * (count - 1) // peers for number in range(peers))
    return [
        (src.name, dst.name, network)
        for position, src in enumerate(hosts)
        for dst in _in_order(hosts, {(position + step) % count for step in steps})
        for network in src.addresses
        if network in dst.addresses and not (network == "control" and dst.on_one_network)
    ]


def _in_order(hosts: Sequence[Host], positions: set[int]) -> list[Host]:
    return [hosts[position] for position in sorted(positions)]


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
    door: Door,
    hosts: Sequence[Host],
    *,
    expected: Sequence[Expected] = (),
    samples: int = SAMPLES,
) -> tuple[RoundTrip, ...]:
    """The matrix of round trips. A host that does not answer gives rows without times, never an error."""
    wanted = targets(hosts, expected)
    if not any(wanted.values()):
        return ()
    calls = [
        Call(
            host=host,
            argv=program("round_trips"),
            request={"targets": wanted[host.name], "samples": samples, "interval_s": INTERVAL_S},
            timeout_s=_longest_s(wanted[host.name], samples),
        )
        for host in hosts
    ]
    answers = per_host(door.run("Measuring round trips", calls))
    return tuple(trip for host in hosts for trip in _of_host(answers[host.name], wanted[host.name]))


def _longest_s(wanted: Sequence[Mapping[str, Any]], samples: int) -> float:
    """Beyond what its schedule takes, a host may be slow."""
    patience_s = max((target["patience_s"] for target in wanted), default=0.0)
    return 60.0 + samples * (len(wanted) * INTERVAL_S + patience_s)


def _of_host(answer: Answer, wanted: Sequence[Mapping[str, Any]]) -> list[RoundTrip]:
    if not answer.ok:
        reason = "it did not measure" if answer.reached else "it could not be reached"
        why = f"{answer.host}: {reason}, {answer.why.splitlines()[-1]}"
        return [RoundTrip(src=answer.host, dst=target["dst"], network=target["network"], why=why) for target in wanted]
    return [summarise(answer.host, row) for row in answer.value]


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
