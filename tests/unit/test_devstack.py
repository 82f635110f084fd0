"""DevStack as an installer: what its Ansible role is told, and what its program on the host makes of stack.sh."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from enos_crdb import inventory, keystone, shipped, software
from enos_crdb.backends import BACKENDS, Connection
from enos_crdb.config import Configuration, load
from enos_crdb.config.devstack import DevStack
from enos_crdb.config.openstack import OpenStack
from enos_crdb.installers import INSTALLERS
from enos_crdb.installers.devstack import DATABASE_TYPES
from enos_crdb.model import Host, Resources
from tests.unit.role_files import python

ROLE = shipped.directory("playbooks") / "roles" / "devstack"
KEYSTONE_ROLE = ROLE.parent / "keystone"


def host(name: str, number: int, *roles: str) -> Host:
    addresses = {"control": f"10.0.1.{number}", "database": f"10.0.2.{number}"}
    return Host(name=name, roles=roles, address=addresses["control"], addresses=addresses)


RESOURCES = Resources(
    hosts=(host("ks-2", 2, "keystone"), host("ks-1", 1, "keystone", "database"), host("rally-1", 3, "rally")),
    networks=(),
)
SECRETS = {"keystone_admin_password": "adm1n", "database_password": "x", **keystone.new_keys()}
CONNECTIONS = {name: Connection(url=f"postgresql://keystone@{name}/keystone") for name in ("ks-1", "ks-2")}


def variables(**options: Any) -> dict[str, dict[str, Any]]:
    openstack = OpenStack(installer="devstack", devstack=DevStack(**options))
    return keystone.variables(openstack, RESOURCES, SECRETS, CONNECTIONS, backend="postgresql")


def rendered(role: Path, template: str, name: str, given: dict[str, Any]) -> str:
    """A template as Ansible renders it for the host `name`."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    known: dict[str, Any] = {}
    for file in ("defaults/main.yml", "vars/main.yml"):
        for part in (KEYSTONE_ROLE, role):
            known |= yaml.safe_load((part / file).read_text())
    known |= {**given, "ansible_managed": "managed", "inventory_hostname": name}
    regions = [f"{endpoint['region']}={endpoint['url']}" for endpoint in given["keystone_endpoints"]]
    known["__devstack_endpoints"] = regions
    text: str = Templar(DataLoader(), variables=known).template((role / "templates" / template).read_text())
    return text


def local_conf(name: str = "ks-1", **options: Any) -> dict[str, str]:
    """The variables that DevStack's shell reads from local.conf, by name."""
    text = rendered(ROLE, "local.conf.j2", name, variables(**options)[name])
    assert text.splitlines()[1] == "[[local|localrc]]"
    functions = "; ".join(
        f'{name}() {{ printf "%s\\0" "{name}=$*"; }}'
        for name in ("disable_all_services", "enable_service", "enable_plugin")
    )
    script = f"{functions}\nbefore=$(compgen -v)\n{text.split(']]', 1)[1]}\nset -o posix; set"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    entries = done.stdout.replace("\0", "\n").splitlines()
    found: dict[str, str] = {}
    for key, separator, value in (entry.partition("=") for entry in entries):
        if separator:
            found[key] = f"{found[key]}; {value}" if key.startswith("enable_") and key in found else value.strip("'")
    return found


class TestLocalConf:
    def test_says_where_and_who(self) -> None:
        conf = local_conf()
        assert conf["DEST"] == "/opt/stack"
        assert conf["HOST_IP"] == "10.0.1.1"
        assert conf["REGION_NAME"] == "ks-1"
        assert conf["GIT_BASE"] == "https://opendev.org"
        assert conf["ADMIN_PASSWORD"] == "adm1n"

    def test_keystone_alone_with_our_plugin_and_database_type(self) -> None:
        conf = local_conf()
        assert "disable_all_services" in conf
        assert conf["enable_service"] == "key enos_postgresql"
        assert conf["enable_plugin"] == "enos_crdb file:///opt/stack/enos_crdb"

    def test_the_database_password_is_not_in_it(self) -> None:
        assert local_conf()["DATABASE_PASSWORD"] == "unused"

    def test_one_host_makes_the_schema_and_all_know_every_endpoint(self) -> None:
        endpoints = "ks-2=http://10.0.1.2/identity/v3 ks-1=http://10.0.1.1/identity/v3"
        assert {local_conf(name)["ENOS_CRDB_ENDPOINTS"] for name in ("ks-1", "ks-2")} == {endpoints}
        assert local_conf("ks-1")["ENOS_CRDB_MODE"] == "bootstrap"
        assert local_conf("ks-2")["ENOS_CRDB_MODE"] == "join"

    def test_settings_are_taken_as_they_are_written(self) -> None:
        conf = local_conf(settings={"KEYSTONE_BRANCH": "29.0.2", "ODD": "it's $HOME", "FORCE": True, "N": 3})
        assert conf["KEYSTONE_BRANCH"] == "29.0.2"
        assert "$HOME" in conf["ODD"]
        assert (conf["FORCE"], conf["N"]) == ("True", "3")

    def test_rally_comes_from_the_same_git_base(self) -> None:
        conf = local_conf(rally=True, git_base="git://mirror.example/")
        assert "rally-openstack git://mirror.example/openstack/rally-openstack" in conf["enable_plugin"]

    def test_rally_s_plugin_is_the_one_that_makes_the_load(self) -> None:
        """Its newest commit needs newer packages than stable/2025.2 has."""
        assert local_conf(rally=True)["enable_plugin"].endswith(f"/openstack/rally-openstack {DevStack().rally_ref}")
        lock = (ROLE.parent.parent / "locks" / "rally.txt").read_text()
        assert f"\nrally-openstack=={DevStack().rally_ref} " in lock
        assert local_conf(rally=True, rally_ref="master")["enable_plugin"].endswith("/rally-openstack master")

    def test_a_pin_of_the_user_replaces_ours(self) -> None:
        assert local_conf()["ENOS_CRDB_CONSTRAINTS"] == "SQLAlchemy===2.0.52"
        pins = ["sqlalchemy===2.0.48", "oslo.db===18.1.0"]
        assert local_conf(constraints=pins)["ENOS_CRDB_CONSTRAINTS"] == "sqlalchemy===2.0.48 oslo.db===18.1.0"

    def test_keystone_s_options_change_no_variable_of_it(self) -> None:
        """They are in the files of our plugin: stack.sh then finds its software unchanged and downloads nothing."""
        openstack = OpenStack(installer="devstack")
        other = openstack.model_copy(
            update={"keystone": openstack.keystone.model_copy(update={"workers": 7, "cache": "none", "debug": True})}
        )
        texts = {
            rendered(
                ROLE,
                "local.conf.j2",
                "ks-1",
                keystone.variables(asked, RESOURCES, SECRETS, CONNECTIONS, backend="postgresql")["ks-1"],
            )
            for asked in (openstack, other)
        }
        assert len(texts) == 1


class TestSameKeystone:
    """Both installers configure Keystone from the same templates."""

    def both(self, template: str) -> tuple[str, str]:
        texts = []
        for name in ("pypi", "devstack"):
            openstack = OpenStack.model_validate({"installer": name, "keystone": {"workers": 5, "threads": 2}})
            given = keystone.variables(openstack, RESOURCES, SECRETS, CONNECTIONS, backend="postgresql")["ks-1"]
            texts.append(rendered(KEYSTONE_ROLE, template, "ks-1", given))
        return texts[0], texts[1]

    @pytest.mark.parametrize("template", ["keystone.conf.j2", "db_sync.conf.j2"])
    def test_keystone_conf_is_equal(self, template: str) -> None:
        ours, theirs = self.both(template)
        assert ours == theirs

    def test_what_devstack_sets_otherwise_is_said(self) -> None:
        """Keystone's own defaults, which DevStack replaces on some branches: Keystone would answer differently."""
        text = self.both("keystone.conf.j2")[1]
        for line in ("enforce_new_defaults = True", "enforce_scope = True", "response_validation = warn"):
            assert line in text.splitlines()

    def test_uwsgi_differs_only_in_who_listens(self) -> None:
        ours, theirs = (text.splitlines() for text in self.both("uwsgi.ini.j2"))
        assert set(theirs) <= set(ours)
        assert {line.split(" ")[0] for line in set(ours) - set(theirs)} == {"http-socket", "module", "virtualenv"}
        assert {"processes = 5", "threads = 2"} <= set(theirs)


class TestInstallers:
    def test_every_backend_has_a_database_type_of_our_plugin(self) -> None:
        types = {path.name for path in (shipped.directory("devstack_plugin") / "devstack/lib/databases").iterdir()}
        assert set(DATABASE_TYPES) == set(BACKENDS)
        assert set(DATABASE_TYPES.values()) == types

    @pytest.mark.parametrize("name", sorted(INSTALLERS))
    def test_every_installer_has_what_playbooks_ask_for(self, name: str) -> None:
        role = ROLE.parent / INSTALLERS[name].ansible_role
        for entry in ("preflight", "install", "deploy", "remove"):
            assert (role / "tasks" / f"{entry}.yml").is_file()
        assert INSTALLERS[name].name == name

    def test_the_branch_is_that_of_the_release(self) -> None:
        given = INSTALLERS["devstack"].installation(OpenStack(installer="devstack", release="2025.2"))
        assert given["devstack_branch"] == "stable/2025.2"
        asked = OpenStack(installer="devstack", devstack=DevStack(branch="master", ref="493835a"))
        assert INSTALLERS["devstack"].installation(asked)["devstack_branch"] == "master"


def configuration(**devstack: Any) -> Configuration:
    return load(shipped.directory("configs") / "local.yaml").model_copy(
        update={"openstack": OpenStack(installer="devstack", devstack=DevStack(**devstack))}
    )


class TestLayers:
    ROLES = ("database", "keystone")

    def key(self, **devstack: Any) -> str:
        return software.layer_key(configuration(**devstack), self.ROLES, (), "bookworm")

    def test_the_name_says_what_is_in_it(self) -> None:
        assert self.key().startswith("postgresql-memcached-devstack-")

    def test_another_devstack_is_another_layer(self) -> None:
        asked = [{}, {"branch": "master"}, {"ref": "abc"}, {"git_base": "git://mirror.example"}]
        assert len({self.key(**options) for options in asked}) == len(asked)

    def test_what_a_deployment_decides_is_not_in_it(self) -> None:
        assert self.key() == self.key(timeout_s=60, settings={"FORCE": "yes"}, demo_accounts=True)

    def test_no_wheels_of_keystone_are_fetched(self) -> None:
        assert list(inventory.lock_files(configuration())) == ["rally"]


def test_how_much_goes_is_known_to_the_playbook_that_removes() -> None:
    """It gets no variables of single hosts."""
    assert inventory.variables(configuration(clean=True))["devstack_clean"] is True
    assert inventory.variables(configuration())["devstack_clean"] is False


def test_versions_of_the_clones_are_read_back() -> None:
    asked = configuration()
    collected = inventory.collected(asked, RESOURCES.host("ks-2"))
    assert {"devstack_commit", "keystone_commit"} <= collected["commands"].keys()
    assert collected["virtualenvs"] == {"keystone": "/opt/stack/data/venv"}
    assert "/opt/stack/logs/stack.sh.log" in collected["files"]


# --- the program on the host -----------------------------------------------------------------------------------------


@pytest.fixture
def stacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = python("devstack/files/stacking.py")
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setattr(module, "STATE", state)
    monkeypatch.setattr(module, "OUTPUT", state / "stack.out")
    monkeypatch.setattr(module, "MEMORY_SHARING", tmp_path / "ksm")
    return module


LOG = """\
2026-11-22 21:00:00.001 | + functions-common:install_package:1402 : apt-get install
2026-11-22 21:00:00.002 | Reading package lists...
2026-11-22 21:00:01.000 | \x1b[31mERROR: No matching distribution found for oslo.db===99\x1b(B\x1b[m
2026-11-22 21:00:01.001 | + inc/python:pip_install:1:   pip install -c upper-constraints.txt
2026-11-22 21:00:01.002 | + ./stack.sh:main:1 : exit_trap
2026-11-22 21:00:01.003 | Error on exit
2026-11-22 21:00:02.000 | World dumping... see ./worlddump-2026.txt for details
"""


def test_a_failure_is_told_without_trace_colours_and_dump(stacking: ModuleType) -> None:
    told = stacking.last_words(LOG).splitlines()
    assert told == [
        "Reading package lists...",
        "ERROR: No matching distribution found for oslo.db===99",
        "The last command was: inc/python:pip_install:1:   pip install -c upper-constraints.txt",
    ]


def test_a_complaint_is_told_even_when_much_was_said_after_it(stacking: ModuleType) -> None:
    noise = "".join(f"cleaning {number}\n" for number in range(60))
    told = stacking.last_words(f"[ERROR] /opt/stack/devstack/lib/x:7 no such thing\n{noise}Error on exit\nnoise\n")
    lines = told.splitlines()
    assert lines[0] == "[ERROR] /opt/stack/devstack/lib/x:7 no such thing"
    assert lines[-1] == "cleaning 59"
    assert len(lines) == 16


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"Result": "timeout", "SubState": "failed", "ExecMainStatus": "15"}, "was ended after 7 s"),
        ({"Result": "exit-code", "SubState": "failed", "ExecMainStatus": "3"}, "ended with status 3"),
        ({"Result": "success", "SubState": "dead", "ExecMainStatus": "0"}, "is gone: the host was restarted"),
    ],
)
def test_the_reason_begins_with_how_it_ended(
    stacking: ModuleType, tmp_path: Path, state: dict[str, str], said: str
) -> None:
    stacking.OUTPUT.write_text("missing devstack/files\n")
    told = stacking.reason({"home": str(tmp_path), "timeout_s": 7}, state)
    assert said in told.splitlines()[0]
    assert "missing devstack/files" in told, "what it printed before its log was opened"


def test_milestones_are_told_once_and_without_times(
    stacking: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacking, "unit", lambda: {"SubState": "running", "Result": "success"})
    summary = tmp_path / "logs" / "stack.sh.log.summary"
    summary.parent.mkdir()
    request = {"home": str(tmp_path), "patience_s": 0}
    assert stacking.follow(request)["milestones"] == []
    summary.write_text("2026-11-22 21:00:00.001 | stack.sh log x\n2026-11-22 21:00:00.002 | Installing things\n")
    assert stacking.follow(request)["milestones"] == ["Installing things"]
    summary.write_text(summary.read_text() + "2026-11-22 21:00:09.002 | Starting Keystone\n")
    told = stacking.follow(request)
    assert (told["milestones"], told["ended"]) == (["Starting Keystone"], False)


class Machine:
    """Stands in for systemd and DevStack on a host; records what was asked of them."""

    def __init__(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = {"SubState": "dead", "Result": "success", "ExecMainStatus": "0"}
        self.calls: list[str] = []
        self.startable = True
        monkeypatch.setattr(module, "unit", lambda: self.state)
        monkeypatch.setattr(module, "call", self.call)
        monkeypatch.setattr(module, "as_user", lambda request, script: self.calls.append(script))
        monkeypatch.setattr(
            module, "launch", lambda request, offline: self.calls.append("offline" if offline else "online")
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        self.calls.append(" ".join(words[:2]))
        failed = words[:2] == ("systemctl", "start") and not self.startable
        return subprocess.CompletedProcess(words, int(failed), "", "")

    def ends(self, result: str) -> None:
        self.state = {
            "SubState": "exited" if result == "success" else "failed",
            "Result": result,
            "ExecMainStatus": "1",
        }


class TestRepeating:
    """stack.sh runs when something changed, and downloads when what is installed changed."""

    @pytest.fixture
    def machine(self, stacking: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Machine:
        return Machine(stacking, monkeypatch)

    @pytest.fixture
    def request_(self, tmp_path: Path) -> dict[str, Any]:
        for name in ("local.conf", "keystone.conf"):
            (tmp_path / name).write_text("1")
        (tmp_path / "plugin").mkdir()
        return {
            "home": str(tmp_path),
            "software": [str(tmp_path / "local.conf"), str(tmp_path / "plugin")],
            "configuration": [str(tmp_path / "keystone.conf")],
            "patience_s": 0,
            "timeout_s": 60,
            "clean": False,
        }

    def stacked(self, stacking: ModuleType, machine: Machine, request: dict[str, Any]) -> None:
        assert stacking.begin(request)["stacking"] is True
        machine.ends("success")
        assert stacking.follow(request)["succeeded"] is True
        machine.calls.clear()

    def test_the_first_run_downloads(self, stacking: ModuleType, machine: Machine, request_: dict[str, Any]) -> None:
        assert stacking.begin(request_) == {"stacking": True, "because": "it was never done here"}
        assert machine.calls[-1] == "online"

    def test_nothing_changed(self, stacking: ModuleType, machine: Machine, request_: dict[str, Any]) -> None:
        self.stacked(stacking, machine, request_)
        assert stacking.begin(request_)["stacking"] is False
        assert machine.calls == ["systemctl start"]

    def test_a_keystone_that_cannot_be_started_is_stacked_again(
        self, stacking: ModuleType, machine: Machine, request_: dict[str, Any]
    ) -> None:
        self.stacked(stacking, machine, request_)
        machine.startable = False
        assert stacking.begin(request_)["stacking"] is True

    def test_another_configuration_needs_no_download(
        self, stacking: ModuleType, machine: Machine, request_: dict[str, Any], tmp_path: Path
    ) -> None:
        self.stacked(stacking, machine, request_)
        (tmp_path / "keystone.conf").write_text("2")
        assert stacking.begin(request_)["stacking"] is True
        assert machine.calls[-1] == "offline"

    def test_clones_of_other_branches_are_not_used_again(
        self, stacking: ModuleType, machine: Machine, request_: dict[str, Any], tmp_path: Path
    ) -> None:
        clones = [tmp_path / name for name in ("keystone", "requirements", "rally-openstack")]
        for clone in clones:
            clone.mkdir()
        self.stacked(stacking, machine, request_)
        for clone in clones:
            assert not clone.exists(), "an interrupted clone would be taken for a whole one"
            (clone / ".git").mkdir(parents=True)
        (tmp_path / "keystone.conf").write_text("2")
        self.stacked(stacking, machine, request_)
        assert all(clone.exists() for clone in clones), "it runs without the network"
        (tmp_path / "local.conf").write_text("KEYSTONE_BRANCH=29.0.2")
        self.stacked(stacking, machine, request_)
        assert not any(clone.exists() for clone in clones)

    def test_another_plugin_does(
        self, stacking: ModuleType, machine: Machine, request_: dict[str, Any], tmp_path: Path
    ) -> None:
        self.stacked(stacking, machine, request_)
        (tmp_path / "plugin" / "settings").write_text("new")
        assert stacking.begin(request_)["stacking"] is True
        assert machine.calls[-1] == "online"

    def test_after_a_failure_it_runs_again(
        self, stacking: ModuleType, machine: Machine, request_: dict[str, Any]
    ) -> None:
        stacking.begin(request_)
        machine.ends("exit-code")
        assert stacking.follow(request_)["succeeded"] is False
        assert stacking.begin(request_)["stacking"] is True
        assert machine.calls[-1] == "online"

    def test_one_that_an_interrupted_deployment_left_goes_on(
        self, stacking: ModuleType, machine: Machine, request_: dict[str, Any], tmp_path: Path
    ) -> None:
        stacking.begin(request_)
        machine.state = {"SubState": "running", "Result": "success", "ExecMainStatus": "0"}
        machine.calls.clear()
        assert stacking.begin(request_) == {"stacking": True, "because": "it runs already"}
        assert machine.calls == []
        (tmp_path / "local.conf").write_text("2")
        stacking.begin(request_)
        assert machine.calls == ["systemctl stop", "systemctl reset-failed", "online"]

    def test_what_was_removed_is_made_again_without_download(
        self, stacking: ModuleType, machine: Machine, request_: dict[str, Any]
    ) -> None:
        self.stacked(stacking, machine, request_)
        stacking.OUTPUT.write_text("The password: adm1n\n")
        assert stacking.remove(request_) == {"changed": True}
        assert not stacking.OUTPUT.exists()
        assert machine.calls[-1] == "unstack.sh"
        assert stacking.remove(request_) == {"changed": False}
        assert stacking.begin(request_)["stacking"] is True
        assert machine.calls[-1] == "offline"

    def test_what_was_cleaned_is_downloaded_again(
        self, stacking: ModuleType, machine: Machine, request_: dict[str, Any]
    ) -> None:
        self.stacked(stacking, machine, request_)
        stacking.remove({**request_, "clean": True})
        assert machine.calls[-1] == "clean.sh"
        stacking.begin(request_)
        assert machine.calls[-1] == "online"
