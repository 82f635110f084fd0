"""Names, subnets, addresses and command lines of local hosts."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from enos_crdb.errors import ConfigurationError, ProviderError, StateError
from enos_crdb.providers.nspawn.configuration import Configuration, HostRequest
from enos_crdb.providers.nspawn.network import iptables_rules, nft_table
from enos_crdb.providers.nspawn.plan import (
    FleetPlan,
    choose_cidrs,
    from_json,
    hosts_file,
    nspawn_arguments,
    overlay_options,
    plan_hosts,
    refuse_difference,
    to_json,
)

CIDRS = {"control": "10.91.0.0/24", "database": "10.91.1.0/24"}
REQUESTS = [
    HostRequest(name="database-1", roles=("database", "keystone"), site="paris", cpus=1.5, memory_mb=512),
    HostRequest(name="rally-1", roles=("rally",), layer="abc"),
]


@pytest.fixture
def deployment() -> FleetPlan:
    return FleetPlan(
        id="1a2b",
        suite="bookworm",
        image="bookworm-0123456789",
        trees=Path("/var/lib/somewhere/hosts"),
        tmpfs=False,
        cidrs=CIDRS,
        hosts=plan_hosts(REQUESTS, CIDRS),
    )


def test_addresses_follow_the_order_of_the_configuration(deployment: FleetPlan) -> None:
    assert [dict(host.addresses) for host in deployment.hosts] == [
        {"control": "10.91.0.11", "database": "10.91.1.11"},
        {"control": "10.91.0.12", "database": "10.91.1.12"},
    ]
    assert deployment.gateway == "10.91.0.1"
    assert deployment.host("rally-1").address == "10.91.0.12"


def test_every_name_tells_whose_it_is_and_fits_the_kernel(deployment: FleetPlan) -> None:
    many = plan_hosts([HostRequest(name=f"h{n}", roles=()) for n in range(200)], CIDRS)
    names = [deployment.veth(host, network) for host in many for network in CIDRS]
    names += [deployment.bridge(network) for network in CIDRS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("ec1a2b-") and len(name) <= 15 for name in names)


def test_unknown_host_is_answered_with_the_known_ones(deployment: FleetPlan) -> None:
    with pytest.raises(ProviderError, match="database-1, rally-1"):
        deployment.host("keystone-1")


def test_state_survives_json(deployment: FleetPlan) -> None:
    assert from_json(json.loads(json.dumps(to_json(deployment)))) == deployment


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param({"schema_version": 99}, "schema version 99", id="newer"),
        pytest.param({"hosts": None}, "damaged", id="no-hosts"),
        pytest.param({"cidrs": 3}, "damaged", id="odd-cidrs"),
    ],
)
def test_foreign_state_is_refused(deployment: FleetPlan, change: dict[str, object], complaint: str) -> None:
    with pytest.raises(StateError, match=complaint):
        from_json({**to_json(deployment), **change})


def test_changed_machines_are_refused(deployment: FleetPlan) -> None:
    conf = Configuration()
    conf.machines = [*REQUESTS]
    refuse_difference(deployment, conf)
    conf.machines = REQUESTS[:1]
    with pytest.raises(ProviderError, match=r"are database-1, rally-1; .* asks for database-1 "):
        refuse_difference(deployment, conf)


class TestSubnets:
    def test_default_route_takes_nothing(self) -> None:
        assert choose_cidrs({}, ["0.0.0.0/0"], 2) == CIDRS

    def test_taken_ones_are_avoided(self) -> None:
        used = ["10.91.0.7/24", "10.91.1.128/25", "10.91.3.9"]
        assert choose_cidrs({}, used, 2) == {"control": "10.91.2.0/24", "database": "10.91.4.0/24"}

    def test_a_whole_block_is_left(self) -> None:
        chosen = choose_cidrs({"control": "auto"}, ["10.64.0.0/10"], 2)
        assert chosen == {"control": "10.201.0.0/24", "database": "10.201.1.0/24"}

    def test_everything_taken(self) -> None:
        with pytest.raises(ProviderError, match=r"networks\.control\.cidr"):
            choose_cidrs({}, ["10.0.0.0/8"], 2)

    def test_requested_and_automatic_do_not_meet(self) -> None:
        chosen = choose_cidrs({"database": "10.91.0.0/23"}, [], 2)
        assert not IPv4Network(chosen["control"]).overlaps(IPv4Network(chosen["database"]))
        assert list(chosen) == ["control", "database"]

    @pytest.mark.parametrize(
        ("requested", "hosts", "complaint"),
        [
            pytest.param({"control": "192.168.1.0/24"}, 2, "overlaps 192.168.0.0/16", id="in-use"),
            pytest.param({"control": "10.1.0.0/28"}, 5, "too small for 5 hosts", id="too-small"),
            pytest.param(
                {"control": "10.1.0.0/24", "database": "10.1.0.0/16"}, 2, "overlaps 10.1.0.0/24", id="each-other"
            ),
        ],
    )
    def test_refusals(self, requested: dict[str, str], hosts: int, complaint: str) -> None:
        with pytest.raises(ConfigurationError, match=complaint):
            choose_cidrs(requested, ["192.168.5.0/16"], hosts)


def test_two_hosts_of_one_name() -> None:
    with pytest.raises(ConfigurationError, match="named rally-1"):
        plan_hosts([HostRequest(name="rally-1", roles=())] * 2, CIDRS)


def test_hosts_know_each_other_on_both_networks(deployment: FleetPlan) -> None:
    lines = hosts_file(deployment).splitlines()
    assert "10.91.0.11 database-1 database-1.control" in lines
    assert "10.91.1.12 rally-1.database" in lines


def test_overlay_options_escape_what_separates_options() -> None:
    options = overlay_options(lower=[Path("/a:b"), Path("/c")], upper=Path("/u,p"), work=Path("/w"), volatile=True)
    assert options == r"lowerdir=/a\:b:/c,upperdir=/u\,p,workdir=/w,volatile"


def test_container_command(deployment: FleetPlan) -> None:
    command = nspawn_arguments(
        deployment, deployment.hosts[0], root=Path("/r"), read_only_binds={Path("/w:1"): "/srv/wheels"}
    )
    assert command[0] == "systemd-nspawn"
    for needed in (
        "--boot",
        "--register=no",
        "--keep-unit",
        "--machine=ec1a2b-database-1",
        "--hostname=database-1",
        "--network-namespace-path=/run/netns/ec1a2b-database-1",
        "--capability=CAP_NET_ADMIN",
        "--resolv-conf=off",
        r"--bind-ro=/w\:1:/srv/wheels",
    ):
        assert needed in command


def test_address_translation_says_the_same_to_both_tools(deployment: FleetPlan) -> None:
    assert "table ip ec1a2b {" in nft_table(deployment)
    assert "ip saddr 10.91.0.0/24 ip daddr != 10.91.0.0/24 masquerade" in nft_table(deployment)
    rules = iptables_rules(deployment, translate=True, accept=True)
    assert rules[0][:2] == ("nat", "POSTROUTING")
    assert " ".join(rules[0][2]).startswith("-s 10.91.0.0/24 ! -d 10.91.0.0/24")
    accepted = [" ".join(words[:2]) for table, _, words in rules if table == "filter"]
    assert accepted == ["-i ec1a2b-c", "-o ec1a2b-c", "-i ec1a2b-d", "-o ec1a2b-d"]
    assert all("ec1a2b" in words[words.index("--comment") + 1] for _, _, words in rules)
    assert iptables_rules(deployment, translate=False, accept=False) == []


def test_configuration_survives_its_own_dictionary() -> None:
    conf = Configuration()
    conf.machines = [*REQUESTS]
    conf.add_network(name="control", cidr="10.1.0.0/24")
    again = Configuration.from_dictionary(conf.to_dict())
    assert again.machines == REQUESTS
    assert again.cidrs == {"control": "10.1.0.0/24"}
    assert again.finalize() is again
