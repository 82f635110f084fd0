"""The command lines that reach hosts."""

from __future__ import annotations

import pytest

from enos_crdb import ssh
from enos_crdb.model import Host


def host(**given: object) -> Host:
    values = {"name": "rally-1", "roles": ("rally",), "address": "10.0.0.9", "addresses": {}}
    return Host(**{**values, **given})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ssh.CONFIGURATION, raising=False)


def test_a_key_and_a_port() -> None:
    line = ssh.command(host(keyfile="/keys/id", port=2222), ("echo", "a b"))
    assert line[0] == "ssh"
    assert (line[line.index("-i")], line[line.index("-i") + 1]) == ("-i", "/keys/id")
    assert (line[line.index("-p")], line[line.index("-p") + 1]) == ("-p", "2222")
    assert line[-4:] == ["--", "root@10.0.0.9", "echo", "'a b'"]


def test_a_user_that_is_not_root_uses_sudo_for_commands_and_keeps_the_own_shell() -> None:
    assert ssh.command(host(user="debian"), ("id",))[-4:] == ["debian@10.0.0.9", "sudo", "--", "id"]
    assert ssh.command(host(user="debian"), ())[-1] == "debian@10.0.0.9"


def test_over_a_jump_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ssh.CONFIGURATION, "/my/config")
    line = ssh.command(host(variables={"gateway": "access.example.org", "gateway_user": "jdoe"}), ("true",))
    proxy = next(word for word in line if word.startswith("ProxyCommand="))
    assert proxy.endswith("-W %h:%p jdoe@access.example.org")
    assert "-F /my/config" in proxy
    assert line[:3] == ["ssh", "-F", "/my/config"]


def test_over_two_jump_hosts_the_outer_one_first() -> None:
    variables = {"gateway": "out", "gateway_user": "jdoe", "internal_gateway": "in", "internal_gateway_user": "jdoe"}
    line = ssh.command(host(variables=variables), ("true",))
    proxy = next(word for word in line if word.startswith("ProxyCommand="))
    assert "-J jdoe@out" in proxy
    assert proxy.endswith("-W %h:%p jdoe@in")


def test_this_machine_is_not_reached_by_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    here = host(variables={"ansible_connection": "local"})
    assert ssh.command(here, ("id", "-u")) == ["id", "-u"]
    monkeypatch.setenv("SHELL", "/bin/zsh")
    assert ssh.command(here, ()) == ["/bin/zsh"]
