"""Emulated networks as values: constraints, links, expected round trips, the gate, rules, and the queues' protocol."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import config
from enos_crdb.config.emulation import Constraint, Endpoint, Link, links, rate_kbit
from enos_crdb.errors import ConfigurationError, NetworkError
from enos_crdb.model import Host
from enos_crdb.network import expect, judge, netem, round_trips
from enos_crdb.network.plan import expected_loss, medians
from enos_crdb.providers.nspawn import delay, emulation
from enos_crdb.providers.nspawn.plan import FleetPlan, HostPlan, addresses
from enos_crdb.record import Expected, RoundTrip, Tolerance
from enos_crdb.testing import RecordingDoor
from tests.unit.role_files import program

PLACES = (
    Endpoint(name="database-1", roles=("database", "keystone"), site="paris"),
    Endpoint(name="database-2", roles=("database",), site="paris"),
    Endpoint(name="database-3", roles=("database",), site="nantes"),
    Endpoint(name="rally-1", roles=("rally",), site="paris"),
)
FILE = """\
name: net
provider: nspawn
machines: [{roles: [database, keystone], count: 3}, {roles: [rally]}]
database: {backend: galera}
emulation:
  constraints:
    - {between: [database, database], delay_ms: 10}
"""


def constraint(*between: str, **options: Any) -> Constraint:
    return Constraint(between=list(between), **options)


def ways(*constraints: Constraint) -> set[tuple[str, str]]:
    return {(link.src, link.dst) for link in links(constraints, PLACES)}


def both(*names: str) -> set[tuple[str, str]]:
    """Both directions between hosts given by the end of their names."""
    hosts = [f"database-{name}" if name.isdigit() else name for name in names]
    return {(a, b) for a in hosts for b in hosts if a != b}


class TestLinks:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (constraint("database", "database"), both("1", "2", "3")),
            (constraint("database-1", "database-3"), both("1", "3")),
            (constraint("database-1", "database-3", symmetric=False), {("database-1", "database-3")}),
            (constraint("site:paris", "site:nantes"), both("1", "3") | both("2", "3") | both("rally-1", "3")),
            (constraint("database", "database", across_sites=True), both("1", "3") | both("2", "3")),
            (constraint("rally", "keystone"), both("1", "rally-1")),
            (
                constraint("database", "database-1", symmetric=False),
                {("database-2", "database-1"), ("database-3", "database-1")},
            ),
        ],
        ids=["role", "hosts", "one-way", "sites", "across-sites", "two-roles", "overlapping-one-way"],
    )
    def test_a_constraint_names_pairs(self, given: Constraint, expected: set[tuple[str, str]]) -> None:
        assert ways(given) == expected

    def test_the_two_directions_may_differ(self) -> None:
        there = constraint("database-1", "database-2", delay_ms=10, symmetric=False)
        back = constraint("database-2", "database-1", delay_ms=30, loss_percent=1, rate="2mbit", symmetric=False)
        assert links([there, back], PLACES) == (
            Link(src="database-1", dst="database-2", network="database", delay_ms=10),
            Link(src="database-2", dst="database-1", network="database", delay_ms=30, loss_percent=1, rate_kbit=2000),
        )

    def test_the_same_pair_on_two_networks(self) -> None:
        pair = ("database-1", "database-2")
        found = links([constraint(*pair, delay_ms=1), constraint(*pair, delay_ms=2, network="control")], PLACES)
        assert [(link.network, link.delay_ms) for link in found] == [("database", 1)] * 2 + [("control", 2)] * 2

    def test_a_level_of_zero_is_idle(self) -> None:
        assert {link.idle for link in links([constraint("database", "database")], PLACES)} == {True}

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (constraint("database", "database", delay_ms=50), "database <-> database on database: 50 ms one way"),
            (constraint("a", "site:b", network="control", symmetric=False), "a -> site:b on control: nothing"),
            (
                constraint("a", "b", loss_percent=0.5, rate="1gbit", across_sites=True),
                "a <-> b on database, across sites: 0.5 % lost, at most 1gbit",
            ),
        ],
    )
    def test_a_constraint_describes_itself(self, given: Constraint, text: str) -> None:
        assert given.describe() == text

    @pytest.mark.parametrize(("text", "kbit"), [("64kbit", 64), ("1.5mbit", 1500), ("10gbit", 10_000_000)])
    def test_rates(self, text: str, kbit: float) -> None:
        assert rate_kbit(text) == kbit


class TestFile:
    def test_the_network_is_as_it_is_by_default(self, tmp_path: Path) -> None:
        path = tmp_path / "net.yaml"
        path.write_text(FILE[: FILE.index("emulation")])
        section = config.load(path).emulation
        assert (section.constraints, section.mismatch, section.emulator) == ([], "refuse", "auto")

    def test_a_delay_can_be_set_on_the_command_line(self, tmp_path: Path) -> None:
        path = tmp_path / "net.yaml"
        path.write_text(FILE)
        loaded = config.load(path, ["emulation.constraints.0.delay_ms=50", "emulation.tolerance_ms=2"])
        assert (loaded.emulation.constraints[0].delay_ms, loaded.emulation.tolerance_ms) == (50, 2)

    def test_a_bad_delay_on_the_command_line_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "net.yaml"
        path.write_text(FILE)
        with pytest.raises(ConfigurationError, match=r"^--set .*=0.01: emulation.constraints.0.delay_ms: 0.01 ms is"):
            config.load(path, ["emulation.constraints.0.delay_ms=0.01"])


def trip(src: str, dst: str, median_ms: float | None, **options: Any) -> RoundTrip:
    answered = {} if median_ms is None else {"samples": 15, "min_ms": median_ms, "max_ms": median_ms}
    return RoundTrip(src=src, dst=dst, network="database", median_ms=median_ms, **{**answered, **options})


class TestExpectation:
    MATRIX = (trip("a", "b", 0.2), trip("b", "a", 0.3), trip("a", "c", 0.1), trip("a", "d", None))

    def test_both_directions_count_for_both_round_trips(self) -> None:
        one_way = [Link(src="a", dst="b", network="database", delay_ms=10), Link(src="b", dst="a", network="database")]
        assert expect(medians(self.MATRIX), one_way) == (
            Expected(src="a", dst="b", network="database", rtt_ms=10.2),
            Expected(src="b", dst="a", network="database", rtt_ms=10.3),
            Expected(src="a", dst="c", network="database", rtt_ms=0.1),
        )

    def test_an_answer_is_lost_on_either_way(self) -> None:
        links_ = [
            Link(src="a", dst="b", network="database", loss_percent=10),
            Link(src="b", dst="a", network="database", loss_percent=20),
        ]
        assert expected_loss(links_) == pytest.approx({("a", "b", "database"): 0.28, ("b", "a", "database"): 0.28})


class TestGate:
    EXPECTED = (Expected(src="a", dst="b", network="database", rtt_ms=100.0),)

    @pytest.mark.parametrize(
        ("measured_ms", "expected_ms", "verdict"),
        [
            (104.9, 100.0, "ok"),
            (105.1, 100.0, "off"),
            (94.9, 100.0, "off"),
            (1.1, 0.2, "ok"),
            (1.3, 0.2, "off"),
            (0.2, 20.2, "off"),
        ],
        ids=["just-in", "above", "below", "short", "short-above", "not-delayed-at-all"],
    )
    def test_five_percent_or_one_millisecond(self, measured_ms: float, expected_ms: float, verdict: str) -> None:
        expected = [replace(self.EXPECTED[0], rtt_ms=expected_ms)]
        found = judge([trip("a", "b", measured_ms)], expected, Tolerance())
        assert found.verdict == verdict
        assert len(found.deviations) == (verdict == "off")

    def test_a_deviation_says_all_numbers(self) -> None:
        (sentence,) = judge([trip("a", "b", 0.2)], self.EXPECTED, Tolerance()).deviations
        assert sentence == ("a to b on database: the round trip takes 0.20 ms, expected 100.00 ms (tolerated: 5.00 ms)")

    def test_a_dead_host_is_one_sentence(self) -> None:
        silent = [trip("a", name, None, why="a: it could not be reached") for name in "bcde"]
        found = judge(silent, self.EXPECTED, Tolerance())
        assert found.verdict == "not measured"
        assert found.deviations == (
            "not measured: a to b on database, a to c on database, a to d on database and 1 more "
            "(a: it could not be reached)",
        )

    def test_off_is_worse_than_not_measured(self) -> None:
        assert judge([trip("a", "c", None), trip("a", "b", 0.2)], self.EXPECTED, Tolerance()).verdict == "off"

    def test_nothing_is_expected_of_a_network_that_nobody_emulates(self) -> None:
        assert judge([trip("a", "b", 500.0)], (), Tolerance()).verdict == "ok"

    @pytest.mark.parametrize(
        ("lost", "probability", "verdict"),
        [
            (0, 0.0, "ok"),
            (1, 0.0, "ok"),
            (5, 0.0, "off"),
            (3, 0.19, "ok"),
            (0, 0.19, "ok"),
            (0, 0.64, "off"),
            (12, 0.19, "off"),
        ],
    )
    def test_a_strange_number_of_lost_answers(self, lost: int, probability: float, verdict: str) -> None:
        measured = [trip("a", "b", 100.0, samples=15 - lost, lost=lost)]
        loss = {("a", "b", "database"): probability}
        assert judge(measured, self.EXPECTED, Tolerance(), loss=loss).verdict == verdict

    def test_a_fault_of_the_emulator_is_a_deviation(self) -> None:
        found = judge([trip("a", "b", 100.0)], self.EXPECTED, Tolerance(), faults=["it died"])
        assert (found.verdict, found.deviations) == ("off", ("it died",))


def deployment() -> FleetPlan:
    cidrs = {"control": "10.9.0.0/24", "database": "10.9.1.0/24"}
    hosts = tuple(
        HostPlan(
            name=place.name,
            index=index,
            roles=place.roles,
            site=place.site,
            cpus=None,
            memory_mb=None,
            layer=None,
            addresses=addresses(cidrs, index),
        )
        for index, place in enumerate(PLACES)
    )
    return FleetPlan(id="1a2b", suite="bookworm", image="i", trees=Path("/t"), tmpfs=False, cidrs=cidrs, hosts=hosts)


class TestLocalRules:
    LINKS = (
        Link(src="database-2", dst="database-1", network="database", delay_ms=10),
        Link(src="database-3", dst="database-1", network="database", delay_ms=10),
        Link(src="rally-1", dst="database-1", network="control", delay_ms=2.5, loss_percent=1),
        Link(src="database-1", dst="database-2", network="database", rate_kbit=1500),
        Link(src="database-1", dst="database-3", network="database"),
    )

    def test_packets_are_delayed_where_they_arrive(self) -> None:
        plan = deployment()
        found = emulation.rules(plan, plan.hosts[0], self.LINKS)
        assert found.queues == {(10, 0): 6100, (2.5, 1): 6101}
        assert emulation.restore_text(found).splitlines() == [
            "*mangle",
            ":ENOS_CRDB - [0:0]",
            "-A ENOS_CRDB -s 10.9.1.12/32 -i eth1 -j NFQUEUE --queue-num 6100 --queue-bypass",
            "-A ENOS_CRDB -s 10.9.1.13/32 -i eth1 -j NFQUEUE --queue-num 6100 --queue-bypass",
            "-A ENOS_CRDB -s 10.9.0.14/32 -i eth0 -j NFQUEUE --queue-num 6101 --queue-bypass",
            "-A PREROUTING -j ENOS_CRDB",
            "COMMIT",
        ]
        assert emulation.delayer_command(plan, found)[-3:] == ["--host=ec1a2b-database-1", "6100:10:0", "6101:2.5:1"]

    def test_rates_are_kept_where_packets_leave(self) -> None:
        plan = deployment()
        assert emulation.rules(plan, plan.hosts[0], self.LINKS).rates == (
            "qdisc add dev eth1 root handle ec0d: htb",
            "class add dev eth1 parent ec0d: classid ec0d:1 htb rate 1500kbit",
            "filter add dev eth1 parent ec0d: protocol ip u32 match ip dst 10.9.1.12/32 flowid ec0d:1",
        )

    def test_a_host_that_no_link_concerns_has_no_rules(self) -> None:
        plan = deployment()
        found = emulation.rules(plan, plan.host("rally-1"), self.LINKS)
        assert (found.queues, found.delays, found.rates) == ({}, (), ())


class TestQueueProtocol:
    def test_a_queue_is_read_from_the_command_line(self) -> None:
        queue = delay.parse("6100:50:0.1")
        assert (queue.number, queue.delay_s) == (6100, 0.05)
        assert queue.loss == pytest.approx(0.001)

    def test_a_verdict(self) -> None:
        found = delay.verdict(delay.MSG_VERDICT_BATCH, 6100, delay.ACCEPT, 7)
        size, kind, flags = struct.unpack_from("=IHH", found)
        assert (size, len(found), kind, flags) == (32, 32, 0x303, 1)
        assert struct.unpack_from(">H", found, 18) == (6100,)
        assert struct.unpack_from("=HH", found, 20) == (12, 2)
        assert struct.unpack_from(">II", found, 24) == (1, 7)

    def test_attributes_are_padded(self) -> None:
        assert delay.attribute(5, b"abc") == struct.pack("=HH", 7, 5) + b"abc\0"

    def test_packets_that_are_lost_are_not_taken_together(self) -> None:
        flags = [list(delay.configuration(delay.parse(text)))[1][-4:] for text in ("1:5:0", "1:5:2")]
        assert flags == [struct.pack(">I", delay.FLAG_GSO), struct.pack(">I", 0)]

    def test_announcements_are_told_from_other_messages(self) -> None:
        packets = b"".join(
            delay.message(delay.MSG_PACKET, 0, 6100, delay.attribute(1, struct.pack(">IHB", number, 0x800, 0)))
            for number in (41, 42)
        )
        error = struct.pack("=IHHIIi", 36, delay.NLMSG_ERROR, 0, 0, 0, -2) + bytes(16)
        found = bytearray(65536)
        found[: len(error + packets)] = error + packets
        assert list(delay.arrivals(found, len(error + packets))) == [(6100, 41), (6100, 42)]


HOSTS = tuple(
    Host(
        name=place.name,
        roles=place.roles,
        address=f"10.9.0.{number}",
        addresses={"control": f"10.9.0.{number}", "database": f"10.9.1.{number}"},
        site=place.site,
    )
    for number, place in enumerate(PLACES, 11)
)


class TestNetem:
    LINKS = (
        Link(src="database-1", dst="database-2", network="database", delay_ms=50),
        Link(src="database-1", dst="database-3", network="database", delay_ms=10, loss_percent=2, rate_kbit=100_000),
        Link(src="database-1", dst="rally-1", network="database"),
    )
    DEVICES = {"10.9.0.11": "eno1", "10.9.1.11": "eno2"}

    def survey(self, *qdiscs: dict[str, Any]) -> dict[str, netem.TrafficControl]:
        return {
            host.name: netem.TrafficControl(
                devices=self.DEVICES if host.name == "database-1" else {}, qdiscs=qdiscs, netem=True
            )
            for host in HOSTS
        }

    def installed(self, *options: dict[str, Any]) -> list[str]:
        qdiscs = [{"dev": "eno2", "kind": "netem", "parent": "1:1", "options": option} for option in options]
        return netem.missing(HOSTS, self.LINKS, self.survey(*qdiscs))

    def test_commands_are_enoslibs_and_in_order(self) -> None:
        assert netem.host_commands(HOSTS[0], HOSTS, self.LINKS, self.DEVICES) == [
            "tc qdisc add dev eno2 root handle 1: htb",
            "tc class add dev eno2 parent 1: classid 1:1 htb rate 10000000kbit",
            "tc qdisc add dev eno2 parent 1:1 handle 10: netem delay 50ms limit 83333",
            "tc filter add dev eno2 parent 1: protocol ip u32 match ip dst 10.9.1.12 flowid 1:1",
            "tc class add dev eno2 parent 1: classid 1:2 htb rate 100000kbit",
            "tc qdisc add dev eno2 parent 1:2 handle 11: netem delay 10ms limit 1000 loss 2%",
            "tc filter add dev eno2 parent 1: protocol ip u32 match ip dst 10.9.1.13 flowid 1:2",
        ]
        assert netem.host_commands(HOSTS[1], HOSTS, self.LINKS, {}) == []

    def test_what_tc_shows_is_compared(self) -> None:
        fifty, ten = {"delay": {"delay": 0.05}}, {"delay": {"delay": 0.01}, "loss-random": {"loss": 0.02}}
        assert self.installed(ten, fifty) == []
        assert self.installed() == [
            "database-1: eno2 should delay packets to 2 hosts (10 ms with loss, 50 ms), tc shows 0 (none)."
        ]
        assert self.installed(fifty) != []
        assert self.installed(fifty, {"delay": {"delay": 0.01}}) != []
        assert self.installed(fifty, {**ten, "delay": {"delay": 0.00001}}) != []

    def test_rules_of_others_are_not_replaced(self) -> None:
        own = {"dev": "eno2", "kind": "mq", "handle": "0:", "root": True}
        netem.refuse_foreign(HOSTS[:1], self.LINKS, self.survey(own))
        with pytest.raises(NetworkError, match=r"database-1: eno2 already has rules .* \(tbf 8001:\)"):
            netem.refuse_foreign(HOSTS[:1], self.LINKS, self.survey({**own, "kind": "tbf", "handle": "8001:"}))


class TestMeasuring:
    def test_every_ordered_pair_on_every_network(self) -> None:
        found = round_trips.targets(
            HOSTS[:2], [Expected(src="database-1", dst="database-2", network="database", rtt_ms=300.0)]
        )
        assert found["database-1"] == [
            {
                "dst": "database-2",
                "network": "control",
                "source": "10.9.0.11",
                "address": "10.9.0.12",
                "patience_s": 0.9,
            },
            {
                "dst": "database-2",
                "network": "database",
                "source": "10.9.1.11",
                "address": "10.9.1.12",
                "patience_s": 1.2,
            },
        ]
        assert len(round_trips.pairs(HOSTS)) == 4 * 3 * 2

    @pytest.mark.parametrize("count", [48, 49, 50, 100, 500])
    def test_of_many_hosts_each_is_measured_by_as_many(self, count: int) -> None:
        many = [replace(HOSTS[0], name=f"host-{number}") for number in range(count)]
        found = round_trips.pairs(many)
        each = min(count - 1, round_trips.MOST_PEERS) * 2  # networks
        assert len(found) == len(set(found)) == count * each
        for end in (0, 1):
            assert set(Counter(pair[end] for pair in found).values()) == {each}
        assert not any(src == dst for src, dst, _ in found)

    def test_two_networks_that_are_one_are_measured_once(self) -> None:
        single = [replace(host, addresses=dict.fromkeys(host.addresses, host.address)) for host in HOSTS[:2]]
        assert round_trips.pairs(single) == [
            ("database-1", "database-2", "database"),
            ("database-2", "database-1", "database"),
        ]

    def test_one_host_has_nobody_to_measure(self) -> None:
        door = RecordingDoor()
        assert round_trips.measure(door, HOSTS[:1]) == ()
        assert door.calls == []

    def test_a_summary_keeps_the_spread(self) -> None:
        row = {"dst": "b", "network": "database", "rtt_ms": [3.0, 1.0, 2.0], "lost": 1, "error": ""}
        assert round_trips.summarise("a", row) == RoundTrip(
            src="a", dst="b", network="database", samples=3, lost=1, min_ms=1.0, median_ms=2.0, max_ms=3.0
        )

    def test_the_script_measures_this_machine(self) -> None:
        script = program("round_trips")
        target = {"dst": "me", "network": "lo", "source": "127.0.0.1", "address": "127.0.0.1", "patience_s": 0.5}
        nowhere = {**target, "dst": "nobody", "source": "192.0.2.1"}  # not an address of this machine
        found, lost = script.measure([target, nowhere], 3, 0.01)
        assert len(found["rtt_ms"]) == 3
        assert 0 < max(found["rtt_ms"]) < 500
        assert (lost["rtt_ms"], lost["lost"], lost["error"]) == ([], 3, "EADDRNOTAVAIL")
