"""Machines that are there already: which becomes which host, what is looked at, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import config
from enos_crdb.command import Completed
from enos_crdb.config import Configuration
from enos_crdb.errors import CommandError, ConfigurationError, ProviderError
from enos_crdb.providers import Request
from enos_crdb.providers.static import StaticHosts
from enos_crdb.providers.static.look import MARKER
from enos_crdb.testing import RecordingRunner, ended

MACHINES = [{"roles": ["database", "keystone"]}, {"roles": ["rally"]}]
TOLD = """\
connected 192.0.2.1 50000 {address} 22
system debian 12 bookworm
machine x86_64
python 3.11
uid 0
address eth0 {address}/24
address eth1 {other}/24
claim {claim}
"""


def document(*hosts: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": "own", "provider": "static", "machines": MACHINES}
    made |= {"database": {"backend": "postgresql"}, "static": {"hosts": list(hosts)}}
    for key, value in more.items():
        made[key] = {**made["static"], **value} if key == "static" else value
    return made


def check(*hosts: Mapping[str, Any], **more: Any) -> Configuration:
    return config.check(document(*hosts, **more), source="own.yaml")


TWO = ({"address": "10.0.0.11"}, {"address": "10.0.0.12"})


@dataclass(kw_only=True)
class FakeMachines(RecordingRunner):
    """A `Runner` whose ssh reaches machines that do not exist; they keep their marks.

    ``broken``: address -> what ssh says. ``claims``: address -> content of the marker.
    """

    broken: dict[str, str] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    told: str = TOLD

    def answer(self, args: Sequence[str], input: str) -> Completed:
        address = next((word.partition("@")[2] for word in args if "@" in word), "10.0.0.1")
        assert input, "every question to a machine is a script on standard input"
        if said := self.broken.get(address):
            if said == "silence":
                raise CommandError(args, 124, "", "killed after 30 s without an end")
            return ended(args, status=255, stderr=said)
        if "grep" in input:
            if self.claims.get(address, "").split('"')[3:4] == [input.split()[3]]:
                del self.claims[address]
            stdout = "done\n"
        elif "set -C" in input:
            self.claims.setdefault(address, input[input.index('{"id"') : input.index("}", input.index('{"id"')) + 1])
            stdout = f"claim {self.claims[address]}\n"
        else:
            number = address.rpartition(".")[2]
            stdout = self.told.format(address=address, other=f"10.1.0.{number}", claim=self.claims.get(address, ""))
        return ended(args, stdout=stdout)


def hosts_of(configuration: Configuration, directory: Path, runner: FakeMachines, notes: list[str]) -> StaticHosts:
    return StaticHosts(
        Request(configuration=configuration, directory=directory, cache=directory, runner=runner, notify=notes.append)
    )


class TestFile:
    """What is refused before anything is touched; tests/data/bad/static-* has the messages."""

    def test_machines_become_hosts_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        provider = hosts_of(check(*TWO, {"address": "10.0.0.13"}), tmp_path, FakeMachines(), [])
        found = provider.acquire({})
        assert [(host.name, host.address) for host in found.hosts] == [
            ("database-1", "10.0.0.11"),
            ("rally-1", "10.0.0.12"),
        ]

    def test_a_machine_of_the_site_comes_before_one_that_serves_any(self, tmp_path: Path) -> None:
        machines = [{"roles": ["database", "keystone"], "site": "nantes"}, {"roles": ["rally"], "site": "lyon"}]
        configuration = check(
            {"address": "10.0.0.11"},
            {"address": "10.0.0.12", "site": "lyon"},
            {"address": "10.0.0.13", "site": "nantes"},
            machines=machines,
        )
        found = hosts_of(configuration, tmp_path, FakeMachines(), []).acquire({})
        assert [host.address for host in found.hosts] == ["10.0.0.13", "10.0.0.12"]

    def test_a_resolved_file_can_be_read_again(self) -> None:
        first = check(*TWO, static={"user": "admin", "port": 2222, "keyfile": "~/.ssh/id_ed25519"})
        assert config.check(first.model_dump(mode="json"), source="state") == first

    def test_this_machine_alone_needs_no_address(self) -> None:
        check({"address": "localhost"}, machines=[{"roles": ["database", "keystone", "rally"]}])

    def test_this_machine_among_others_is_found_by_the_subnets(self) -> None:
        networks = {"control": {"cidr": "10.0.0.0/24"}, "database": {"cidr": "10.1.0.0/24"}}
        check({"address": "localhost"}, {"address": "10.0.0.12"}, networks=networks)


class TestHosts:
    def test_user_port_and_key_are_those_of_the_host_or_of_all(self, tmp_path: Path) -> None:
        runner = FakeMachines()
        configuration = check(
            {"address": "10.0.0.11", "user": "root", "port": 22, "keyfile": "/keys/own"},
            {"address": "10.0.0.12"},
            static={"user": "admin", "port": 2222, "keyfile": "~/key"},
        )
        one, other = hosts_of(configuration, tmp_path, runner, []).acquire({}).hosts
        assert (one.user, one.port, one.keyfile) == ("root", 22, "/keys/own")
        assert (other.user, other.port, other.keyfile) == ("admin", 2222, str(Path.home() / "key"))
        commands = {command[-4 if "sudo" in command else -3] for command in runner.commands}
        asked = next(command for command in runner.commands if "admin@10.0.0.12" in command)
        assert "sudo" in asked, commands
        assert "BatchMode=yes" in asked

    def test_a_host_with_several_roles_is_one_host(self, tmp_path: Path) -> None:
        found = hosts_of(check(*TWO), tmp_path, FakeMachines(), []).acquire({})
        assert [host.roles for host in found.hosts] == [("database", "keystone"), ("rally",)]

    def test_the_address_that_ssh_reaches_serves_both_networks(self, tmp_path: Path) -> None:
        found = hosts_of(check(*TWO), tmp_path, FakeMachines(), []).acquire({})
        assert found.hosts[0].addresses == {"control": "10.0.0.11", "database": "10.0.0.11"}
        assert {(network.name, network.cidr) for network in found.networks} == {
            ("control", "10.0.0.0/24"),
            ("database", "10.0.0.0/24"),
        }

    def test_an_address_is_found_by_the_subnet(self, tmp_path: Path) -> None:
        configuration = check(*TWO, networks={"database": {"cidr": "10.1.0.0/24"}})
        found = hosts_of(configuration, tmp_path, FakeMachines(), []).acquire({})
        assert found.hosts[1].addresses == {"control": "10.0.0.12", "database": "10.1.0.12"}

    def test_a_given_address_wins(self, tmp_path: Path) -> None:
        hosts = [{"address": f"10.0.0.{n}", "addresses": {"database": f"10.1.0.{n}"}} for n in (11, 12)]
        found = hosts_of(check(*hosts), tmp_path, FakeMachines(), []).acquire({})
        assert [host.addresses["database"] for host in found.hosts] == ["10.1.0.11", "10.1.0.12"]
        assert ("database", "10.1.0.0/24") in {(network.name, network.cidr) for network in found.networks}

    def test_what_the_hosts_run_is_known(self, tmp_path: Path) -> None:
        system = hosts_of(check(*TWO), tmp_path, FakeMachines(), []).acquire({}).hosts[0].system
        assert system is not None
        assert (system.codename, system.python) == ("bookworm", "3.11")

    def test_this_machine_is_reached_without_ssh(self, tmp_path: Path) -> None:
        runner = FakeMachines()
        configuration = check({"address": "localhost"}, machines=[{"roles": ["database", "keystone", "rally"]}])
        (host,) = hosts_of(configuration, tmp_path, runner, []).acquire({}).hosts
        assert host.local
        assert host.addresses == {"control": "127.0.0.1", "database": "127.0.0.1"}
        assert not any("ssh" in command for command in runner.commands)


class TestComplaints:
    @pytest.mark.parametrize(
        ("said", "meaning"),
        [
            pytest.param("ssh: connect to host x port 22: Connection refused", "is sshd running", id="refused"),
            pytest.param("ssh: connect to host x port 22: Connection timed out", "firewall", id="timeout"),
            pytest.param("ssh: connect to host x port 22: No route to host", "is it up", id="no-route"),
            pytest.param("root@x: Permission denied (publickey).", "does not accept the key", id="key"),
            pytest.param(
                "ssh: Could not resolve hostname x: Name or service not known", "name is not known", id="name"
            ),
            pytest.param("sudo: a password is required", "NOPASSWD", id="sudo-password"),
            pytest.param("a is not in the sudoers file.", "may not use sudo", id="no-sudo"),
            pytest.param("sh: 1: sudo: not found", "has no sudo", id="sudo-absent"),
            pytest.param("silence", "did not answer within", id="silent-shell"),
            pytest.param("Killed", "commands cannot be run there (Killed)", id="other"),
        ],
    )
    def test_a_machine_that_does_not_answer(self, tmp_path: Path, said: str, meaning: str) -> None:
        provider = hosts_of(check(*TWO), tmp_path, FakeMachines(broken={"10.0.0.12": said}), [])
        (problem,) = provider.problems()
        assert problem.startswith("rally-1 (root@10.0.0.12): ")
        assert meaning in problem
        with pytest.raises(ProviderError, match="rally-1"):
            provider.acquire({})

    def test_every_machine_is_told(self, tmp_path: Path) -> None:
        broken = {"10.0.0.11": "Connection refused", "10.0.0.12": "Connection refused"}
        assert len(hosts_of(check(*TWO), tmp_path, FakeMachines(broken=broken), []).problems()) == 2

    def test_a_machine_without_python(self, tmp_path: Path) -> None:
        runner = FakeMachines(told=TOLD.replace("python 3.11", "python none"))
        assert "has no /usr/bin/python3" in hosts_of(check(*TWO), tmp_path, runner, []).problems()[0]

    def test_a_machine_without_systemd(self, tmp_path: Path) -> None:
        runner = FakeMachines(told=TOLD + "lacks systemd\n")
        assert "systemd does not run there" in hosts_of(check(*TWO), tmp_path, runner, []).problems()[0]

    def test_an_address_that_the_machine_does_not_have(self, tmp_path: Path) -> None:
        configuration = check({"address": "10.0.0.11", "addresses": {"database": "10.9.9.9"}}, TWO[1])
        with pytest.raises(ProviderError, match=r"it does not have 10\.9\.9\.9"):
            hosts_of(configuration, tmp_path, FakeMachines(), []).acquire({})

    def test_a_machine_that_is_not_on_the_network(self, tmp_path: Path) -> None:
        configuration = check(*TWO, networks={"database": {"cidr": "10.7.0.0/24"}})
        with pytest.raises(ProviderError, match=r"no address for network 'database' \(10\.7\.0\.0/24\)"):
            hosts_of(configuration, tmp_path, FakeMachines(), []).acquire({})

    def test_two_names_of_one_machine(self, tmp_path: Path) -> None:
        runner = FakeMachines(told=TOLD.replace("{address}", "10.0.0.11"))
        with pytest.raises(ProviderError, match=r"same address 10\.0\.0\.11"):
            hosts_of(check(*TWO), tmp_path, runner, []).acquire({})
        assert runner.claims == {}


class TestWhatIsThere:
    """Nobody's data are taken over, and removed in the end."""

    @pytest.mark.parametrize(
        ("holds", "backend"),
        [
            ("/var/lib/postgresql/15/main", "postgresql"),
            ("/var/lib/mysql/mysql", "mariadb"),
            ("/etc/keystone", "mariadb"),
            ("memcached.service", "postgresql"),
        ],
    )
    def test_a_machine_with_data_of_its_own_is_refused(self, tmp_path: Path, holds: str, backend: str) -> None:
        runner = FakeMachines(told=TOLD + f"holds {holds}\n")
        configuration = check(*TWO, database={"backend": backend})
        provider = hosts_of(configuration, tmp_path, runner, [])
        assert [problem for problem in provider.problems() if f"it has {holds} already" in problem] != []
        with pytest.raises(ProviderError, match=r"it has .* already"):
            provider.acquire({})
        assert runner.claims == {}

    def test_what_the_deployment_does_not_touch_may_stay(self, tmp_path: Path) -> None:
        runner = FakeMachines(told=TOLD + "holds /var/lib/mysql/mysql\nholds haproxy.service\n")
        configuration = check(*TWO, machines=[{"roles": ["database", "rally"]}, {"roles": ["keystone"]}])
        with pytest.raises(ProviderError, match="haproxy"):
            hosts_of(configuration, tmp_path, runner, []).acquire({})
        runner.told = TOLD + "holds /var/lib/mysql/mysql\n"
        hosts_of(configuration, tmp_path, runner, []).acquire({})

    def test_what_the_deployment_installed_itself_is_its_own(self, tmp_path: Path) -> None:
        runner = FakeMachines()
        provider = hosts_of(check(*TWO), tmp_path, runner, [])
        provider.acquire({})
        runner.told = TOLD + "holds /var/lib/postgresql/15/main\n"
        provider.acquire({})


class TestMarks:
    """A machine serves one deployment at a time."""

    def other(self, name: str = "theirs") -> str:
        return json.dumps({"id": "x", "name": name, "directory": "/results/theirs", "machine": "laptop"})

    def test_machines_are_marked_and_given_back(self, tmp_path: Path) -> None:
        runner = FakeMachines()
        provider = hosts_of(check(*TWO), tmp_path, runner, [])
        provider.acquire({})
        assert json.loads(runner.claims["10.0.0.12"])["directory"] == str(tmp_path)
        provider.acquire({})
        hosts_of(check(*TWO), tmp_path, runner, []).release()
        assert runner.claims == {}
        assert list(tmp_path.iterdir()) == []
        provider.release()

    def test_the_machines_of_another_deployment_are_refused(self, tmp_path: Path) -> None:
        runner = FakeMachines(claims={"10.0.0.12": self.other()})
        provider = hosts_of(check(*TWO), tmp_path, runner, [])
        with pytest.raises(ProviderError, match=r"rally-1 serves deployment 'theirs' \(/results/theirs on laptop\)"):
            provider.acquire({})
        assert list(runner.claims) == ["10.0.0.12"]

    def test_a_mark_that_nobody_can_read_is_respected(self, tmp_path: Path) -> None:
        runner = FakeMachines(claims={"10.0.0.12": "torn"})
        with pytest.raises(ProviderError, match=MARKER):
            hosts_of(check(*TWO), tmp_path, runner, []).acquire({})

    def test_a_check_tells_whom_they_serve(self, tmp_path: Path) -> None:
        notes: list[str] = []
        runner = FakeMachines(claims={"10.0.0.12": self.other()})
        assert hosts_of(check(*TWO), tmp_path, runner, notes).problems() == []
        assert "'theirs'" in notes[0]

    def test_a_dead_machine_does_not_keep_a_deployment_from_ending(self, tmp_path: Path) -> None:
        notes: list[str] = []
        runner = FakeMachines()
        provider = hosts_of(check(*TWO), tmp_path, runner, notes)
        provider.acquire({})
        runner.broken = {"10.0.0.12": "Connection timed out"}
        provider.release()
        assert list(runner.claims) == ["10.0.0.12"]
        assert notes[-1].startswith(f"warning: rally-1 keeps {MARKER}")

    def test_only_marks_of_the_same_deployment_are_removed(self, tmp_path: Path) -> None:
        runner = FakeMachines()
        provider = hosts_of(check(*TWO), tmp_path, runner, [])
        provider.acquire({})
        runner.claims["10.0.0.11"] = self.other()
        provider.release()
        assert list(runner.claims) == ["10.0.0.11"]


def test_files_without_static_hosts_are_refused_for_the_provider() -> None:
    with pytest.raises(ConfigurationError, match=r"static\.hosts: machines ask for 2 hosts"):
        check()
