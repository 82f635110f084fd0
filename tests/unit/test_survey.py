"""What hosts tell of themselves, and what follows from it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from enos_crdb import survey
from enos_crdb.errors import ProviderError
from enos_crdb.model import Host, Network, Resources, System
from enos_crdb.survey import Survey

SYSTEM = System(distribution="debian", version="12", codename="bookworm", python="3.11", machine="x86_64")
TOLD = (
    "system debian 12 bookworm\r\nmachine x86_64\r\npython 3.11\r\nuid 0\r\n"
    "address eth0 10.1.0.11/24\r\naddress eth1 10.2.0.11/16\r\n"
)


def host(number: int, **given: object) -> Host:
    values = {"name": f"database-{number}", "roles": ("database",), "address": f"10.1.0.{number}", "addresses": {}}
    return Host(**{**values, **given})  # type: ignore[arg-type]


def told(*interfaces: str) -> Survey:
    return Survey(
        system=SYSTEM,
        interfaces=tuple((f"eth{number}", IPv4Interface(text)) for number, text in enumerate(interfaces)),
    )


def complete(hosts: list[Host], surveys: list[Survey], *networks: Network) -> Resources:
    named = {each.name: found for each, found in zip(hosts, surveys, strict=True)}
    return survey.complete(Resources(hosts=tuple(hosts), networks=networks), named)


def test_the_script_is_understood_as_this_machine_answers_it() -> None:
    done = subprocess.run(["sh", "-c", survey.SCRIPT], capture_output=True, text=True, check=True)
    text = done.stdout.replace(f"uid {subprocess.check_output(['id', '-u'], text=True).strip()}", "uid 0")
    assert survey.read("here", text).system.machine


def test_a_terminal_of_ansible_ends_lines_its_own_way() -> None:
    found = survey.read("database-1", TOLD)
    assert found.system == SYSTEM
    assert found.interfaces == (("eth0", IPv4Interface("10.1.0.11/24")), ("eth1", IPv4Interface("10.2.0.11/16")))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (TOLD.replace("python 3.11", "python none"), "no /usr/bin/python3"),
        (TOLD.replace("uid 0", "uid 1000"), "do not run as root"),
        (
            TOLD.replace("debian 12", "centos 9"),
            "runs centos 9; Debian 11, 12, 13 and Ubuntu 22.04, 24.04 can be hosts",
        ),
        (TOLD.replace("debian 12 bookworm", "debian unknown forky"), "runs debian unknown"),
        ("Please log in as user NONE", "did not tell its machine and python and system and uid"),
    ],
)
def test_a_host_that_cannot_be_used_says_why(said: str, message: str) -> None:
    with pytest.raises(ProviderError, match=message):
        survey.read("database-1", said)


class TestAddresses:
    def test_an_address_is_on_the_network_in_whose_subnet_it_is(self) -> None:
        networks = (Network(name="control", cidr="10.1.0.0/24"), Network(name="database", cidr="10.2.0.0/16"))
        found = complete([host(11)], [told("10.2.0.11/16", "10.1.0.11/24")], *networks)
        assert found.hosts[0].addresses == {"control": "10.1.0.11", "database": "10.2.0.11"}
        assert found.hosts[0].system == SYSTEM
        assert found.networks == networks

    def test_a_network_may_have_a_subnet_per_site(self) -> None:
        networks = [
            Network(name=name, cidr=cidr)
            for name in ("control", "database")
            for cidr in ("10.1.0.0/24", "172.16.0.0/20")
        ]
        hosts = [host(11), host(12, address="paradoxe-1.rennes.grid5000.fr")]
        found = complete(hosts, [told("10.1.0.11/24"), told("172.16.3.4/20")], *networks)
        assert [each.addresses["database"] for each in found.hosts] == ["10.1.0.11", "172.16.3.4"]

    def test_of_several_in_a_subnet_ssh_s_own_is_taken(self) -> None:
        networks = (Network(name="control", cidr="10.1.0.0/24"), Network(name="database", cidr="10.1.0.0/24"))
        found = complete([host(11)], [told("10.1.0.5/24", "10.1.0.11/24")], *networks)
        assert found.hosts[0].addresses == {"control": "10.1.0.11", "database": "10.1.0.11"}

    def test_without_networks_the_only_address_is_on_both_and_they_are_named_after_it(self) -> None:
        found = complete([host(11, address="a.example.org")], [told("192.0.2.7/28")])
        assert found.hosts[0].addresses == {"control": "192.0.2.7", "database": "192.0.2.7"}
        assert {(network.name, network.cidr) for network in found.networks} == {
            ("control", "192.0.2.0/28"),
            ("database", "192.0.2.0/28"),
        }

    def test_what_the_provider_knew_stays(self) -> None:
        found = complete([host(11, addresses={"control": "10.9.9.9"})], [told("10.1.0.11/24")])
        assert found.hosts[0].addresses == {"control": "10.9.9.9", "database": "10.1.0.11"}

    def test_every_host_that_is_not_on_a_network_is_named(self) -> None:
        networks = (Network(name="control", cidr="10.1.0.0/24"), Network(name="database", cidr="10.2.0.0/24"))
        with pytest.raises(ProviderError) as caught:
            complete([host(11), host(12)], [told("10.1.0.11/24"), told("10.1.0.12/24")], *networks)
        assert str(caught.value).count("has no address for network 'database' (10.2.0.0/24)") == 2
        assert "eth0 10.1.0.11/24" in str(caught.value)

    def test_several_addresses_and_nothing_to_choose_by(self) -> None:
        with pytest.raises(ProviderError, match="Say which it is"):
            complete([host(11, address="a.example.org")], [told("10.1.0.11/24", "10.2.0.11/24")])


def test_only_hosts_of_which_something_is_unknown_are_asked() -> None:
    known = host(1, addresses={"control": "a", "database": "b"}, system=SYSTEM)
    resources = Resources(hosts=(known, replace(known, system=None), replace(known, addresses={})), networks=())
    assert survey.incomplete(resources) == resources.hosts[1:]
