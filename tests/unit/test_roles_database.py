"""Every Ansible role's inputs are described as they default; the decisions of the database roles, as values."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from tests.unit.role_files import ROLES, python

NAMES = sorted(path.name for path in ROLES.iterdir() if (path / "tasks").is_dir())
DATABASE_ROLES = ("postgresql", "mariadb", "galera", "cockroachdb")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


@pytest.mark.parametrize("name", NAMES)
def test_argument_specs_equal_the_defaults(name: str) -> None:
    entries = load(ROLES / name / "meta" / "argument_specs.yml")["argument_specs"]
    defaults = load(ROLES / name / "defaults" / "main.yml") or {}
    described: dict[str, Any] = {}
    for entry in entries.values():
        for option, spec in (entry.get("options") or {}).items():
            assert described.setdefault(option, spec) == spec, f"{option} is described in two ways"
    assert {option: spec["default"] for option, spec in described.items() if "default" in spec} == defaults
    undefined = {option for option, spec in described.items() if "default" not in spec}
    assert {option for option in undefined if not described[option].get("required")} == set()
    assert [option for option, spec in described.items() if not spec.get("description")] == []


@pytest.mark.parametrize("name", NAMES)
def test_entries_that_are_described_exist(name: str) -> None:
    entries = load(ROLES / name / "meta" / "argument_specs.yml")["argument_specs"]
    for entry in entries:
        assert (ROLES / name / "tasks" / f"{entry}.yml").is_file()


@pytest.mark.parametrize("name", DATABASE_ROLES)
def test_a_password_is_never_shown(name: str) -> None:
    entries = load(ROLES / name / "meta" / "argument_specs.yml")["argument_specs"]
    for entry in entries.values():
        for option, spec in (entry.get("options") or {}).items():
            if option.endswith(("password", "passwords", "secret", "keys")):
                assert spec.get("no_log") is True, f"{option} lacks no_log"


@pytest.mark.parametrize("name", DATABASE_ROLES)
@pytest.mark.parametrize("entry", ["main", "preflight", "install", "configure", "snapshot", "remove"])
def test_a_database_role_has_every_entry(name: str, entry: str) -> None:
    assert (ROLES / name / "tasks" / f"{entry}.yml").is_file()


def position(uuid: str = "", seqno: int = -1) -> dict[str, Any]:
    return {"uuid": uuid, "seqno": seqno}


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        pytest.param({"a": position(), "b": position(), "c": position()}, "b", id="never-ran"),
        pytest.param({"a": position("h", 7), "b": position("h", 9), "c": position("h", 8)}, "b", id="most-advanced"),
        pytest.param({"a": position("h", 9), "b": position("h", 7), "c": position("h", 9)}, "a", id="tie-by-name"),
        pytest.param({"a": position("h", 9), "b": position("h", 9), "c": position("h", 9)}, "b", id="tie-the-first"),
        pytest.param({"a": position("h", 3), "b": position(), "c": position()}, "a", id="others-are-new"),
    ],
)
def test_a_stopped_cluster_starts_from_its_most_advanced_node(positions: dict[str, Any], expected: str) -> None:
    assert python("galera/filter_plugins/galera_cluster.py").seed(positions, "b") == expected


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        pytest.param({"a": position("h", 9), "b": position("i", 7)}, "different clusters", id="two-histories"),
        pytest.param({"a": position("h", -1), "b": position()}, "unknown", id="position-lost"),
    ],
)
def test_a_cluster_is_not_started_from_a_guess(positions: dict[str, Any], said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        python("galera/filter_plugins/galera_cluster.py").seed(positions, "b")


def test_the_nodes_in_a_primary_component_are_found() -> None:
    said = {"a": {"__galera_state": {"primary": True}}, "b": {"__galera_state": {"primary": False}}, "c": {}}
    assert python("galera/filter_plugins/galera_cluster.py").primary(["a", "b", "c"], said) == ["a"]


SHOWN = "\n".join(
    (
        "max_connections\t500",
        "innodb_buffer_pool_size\t67108864",
        "skip_name_resolve\tON",
        "wsrep_provider_options\tgcache.size = 128M; evs.suspect_timeout = PT5S; pc.weight = 1;",
        "init_connect\t",
        "long_query_time\t10.000000",
    )
)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        pytest.param("max_connections", 500, id="number"),
        pytest.param("max-connections", "500", id="hyphen-and-text"),
        pytest.param("innodb_buffer_pool_size", "64M", id="suffix"),
        pytest.param("skip_name_resolve", True, id="boolean"),
        pytest.param("skip_name_resolve", "1", id="boolean-as-number"),
        pytest.param("long_query_time", 10, id="float"),
        pytest.param("wsrep_provider_options", "evs.suspect_timeout=PT5S; gcache.size=128M", id="provider"),
        pytest.param("plugin_load_add", "x", id="not-a-variable"),
    ],
)
def test_an_option_the_server_runs_with_is_no_difference(option: str, value: Any) -> None:
    assert python("mariadb/filter_plugins/mariadb_options.py").differences({option: value}, SHOWN) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        pytest.param("max_connections", 501, id="number"),
        pytest.param("innodb_buffer_pool_size", "65M", id="suffix"),
        pytest.param("skip_name_resolve", False, id="boolean"),
        pytest.param("init_connect", "SET x = 1", id="empty"),
        pytest.param("wsrep_provider_options", "evs.suspect_timeout=PT9S", id="provider"),
        pytest.param("wsrep_provider_options", "no.such=1", id="provider-unknown"),
    ],
)
def test_an_option_the_server_does_not_run_with_is_said(option: str, value: Any) -> None:
    (said,) = python("mariadb/filter_plugins/mariadb_options.py").differences({option: value}, SHOWN)
    assert option in said


def test_only_numeric_counters_are_kept() -> None:
    shown = "Com_commit\t12\nwsrep_flow_control_paused\t0.25\nwsrep_local_state_comment\tSynced\nCompression\tOFF\nX\t"
    found = python("mariadb/files/counters.py").counters(shown)
    assert found == {"Com_commit": 12, "wsrep_flow_control_paused": 0.25}


class Script:
    """The host's commands, as galera_node.py sees them: a list of answers per command's first words."""

    def __init__(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch, statuses: list[dict[str, str]]) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.statuses = statuses
        self.module = module
        monkeypatch.setattr(module, "run", self.run)
        monkeypatch.setattr(module, "status", lambda: statuses.pop(0) if len(statuses) > 1 else statuses[0])
        monkeypatch.setattr(module, "somebody_listens", lambda address: address in self.listening)
        monkeypatch.setattr(module.time, "sleep", lambda _: None)
        self.listening: set[str] = set()
        self.unit = "active"

    def run(self, *command: str, timeout_s: float = 20) -> Any:
        self.commands.append(command)
        printed = self.unit if command[:2] == ("systemctl", "is-active") else ""
        return self.module.subprocess.CompletedProcess(command, 0, printed, "")


SYNCED = {"wsrep_cluster_status": "Primary", "wsrep_local_state_comment": "Synced", "wsrep_ready": "ON"}
INCONSISTENT = {"wsrep_cluster_status": "Disconnected", "wsrep_local_state_comment": "Inconsistent"}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = python("galera/files/galera_node.py")
    monkeypatch.setattr(module, "GRASTATE", tmp_path / "grastate.dat")
    (tmp_path / "grastate.dat").write_text("# GALERA\nuuid:    h\nseqno:   -1\nsafe_to_bootstrap: 0\n")
    return module


def test_a_second_cluster_is_never_started(node: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(node, monkeypatch, [SYNCED])
    script.listening = {"10.0.2.2"}
    with pytest.raises(node.Trouble, match=r"10\.0\.2\.2.*second cluster"):
        node.main("bootstrap", 1, ["10.0.2.2", "10.0.2.3"])
    assert script.commands == []


def test_the_chosen_node_may_start_the_cluster(node: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(node, monkeypatch, [SYNCED])
    assert node.main("bootstrap", 1, ["10.0.2.2"])["synced"]
    assert "safe_to_bootstrap: 1" in node.GRASTATE.read_text()
    assert ("galera_new_cluster",) in script.commands


def test_an_inconsistent_node_takes_a_full_copy(node: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(node, monkeypatch, [INCONSISTENT, SYNCED])
    script.listening = {"10.0.2.2"}
    assert node.main("join", 1, ["10.0.2.2"])["copied"]
    assert not node.GRASTATE.exists()


def test_a_node_that_reaches_nobody_keeps_its_position(node: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(node, monkeypatch, [INCONSISTENT])
    script.unit = "failed"
    with pytest.raises(node.Trouble, match=r"10\.0\.2\.2.*cut"):
        node.main("join", 1, ["10.0.2.2"])
    assert node.GRASTATE.exists()
    assert script.commands == []


def test_the_position_of_a_crashed_node_is_recovered(node: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    history = "44022ba6-e65d-11f1-80a1-b28ccd7a216f"

    def recovered(*command: str, timeout_s: float = 20) -> Any:
        printed = f"--wsrep_start_position={history}:42" if command == ("galera_recovery",) else ""
        return node.subprocess.CompletedProcess(command, 0, printed, "")

    monkeypatch.setattr(node, "run", recovered)
    assert node.position() == {"uuid": history, "seqno": 42}


def test_data_that_never_were_in_a_cluster_have_no_history(node: ModuleType) -> None:
    node.GRASTATE.unlink()
    assert node.position() == {"uuid": "", "seqno": -1}


# What is written for the servers

GIVEN: dict[str, Any] = {
    "ansible_facts": {"distribution_release": "bookworm"},
    "ansible_managed": "managed",
    "inventory_hostname": "b",
    "postgresql_address": "10.0.2.12",
    "mariadb_address": "10.0.2.12",
    "galera_nodes": {"a": "10.0.2.11", "b": "10.0.2.12", "c": "10.0.2.13"},
}
TEMPLATES = {"postgresql": "postgresql/templates/enos_crdb.conf.j2", "mariadb": "mariadb/templates/enos_crdb.cnf.j2"}


def written(name: str, **options: Any) -> dict[str, str]:
    """The settings in the file that the role `name` writes on host ``b``, as the server reads them."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    base = "mariadb" if name == "galera" else name
    known: dict[str, Any] = {}
    for role in (base, name):
        for file in ("defaults/main.yml", "vars/main.yml"):
            known |= load(ROLES / role / file)
    if name == "galera":
        known["mariadb_replication"] = "{{ __galera_options }}"  # galera/tasks/configure.yml
    text: str = Templar(DataLoader(), variables={**known, **GIVEN, **options}).template(
        (ROLES / TEMPLATES[base]).read_text()
    )
    pairs = (line.partition(" = ") for line in text.splitlines() if not line.startswith(("#", "[")))
    return {option: value for option, _, value in pairs if option}


POSTGRESQL = {
    "fsync": "on",
    "listen_addresses": "'10.0.2.12'",
    "max_connections": "500",
    "password_encryption": "'scram-sha-256'",
    "port": "5432",
    "shared_buffers": "'256MB'",
    "ssl": "off",
    "synchronous_commit": "on",
}
MARIADB = {
    "bind_address": "10.0.2.12",
    "innodb_buffer_pool_size": "268435456",
    "innodb_flush_log_at_trx_commit": "1",
    "max_connections": "500",
    "port": "3306",
    "skip_name_resolve": "ON",
}
GALERA = {
    **MARIADB,
    "binlog_format": "ROW",
    "default_storage_engine": "InnoDB",
    "innodb_autoinc_lock_mode": "2",
    "wsrep_cluster_address": "gcomm://10.0.2.11,10.0.2.12,10.0.2.13",
    "wsrep_cluster_name": "enos_crdb",
    "wsrep_node_address": "10.0.2.12",
    "wsrep_node_name": "b",
    "wsrep_on": "ON",
    "wsrep_provider": "/usr/lib/galera/libgalera_smm.so",
    "wsrep_provider_options": "gcache.size=128M; gmcast.listen_addr=tcp://10.0.2.12:4567; "
    "ist.recv_addr=10.0.2.12:4568; ist.recv_bind=10.0.2.12:4568",
    "wsrep_slave_threads": "2",
    "wsrep_sst_method": "rsync",
    "wsrep_sst_receive_address": "10.0.2.12:4444",
    "wsrep_sync_wait": "0",
}
SETTINGS = {"postgresql": POSTGRESQL, "mariadb": MARIADB, "galera": GALERA}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_server_is_durable_and_listens_on_its_network_only_by_default(name: str) -> None:
    assert written(name) == SETTINGS[name]


@pytest.mark.parametrize(
    ("name", "options", "changed"),
    [
        pytest.param(
            "postgresql", {"postgresql_durable": False}, {"fsync": "off", "synchronous_commit": "off"}, id="fast"
        ),
        pytest.param(
            "postgresql",
            {"postgresql_port": 1, "postgresql_max_connections": 2},
            {"port": "1", "max_connections": "2"},
            id="numbers",
        ),
        pytest.param(
            "postgresql",
            {"postgresql_shared_buffers_mb": 8, "postgresql_settings": {"ssl": True, "a": "it's"}},
            {"shared_buffers": "'8MB'", "ssl": "on", "a": "'it''s'"},
            id="settings",
        ),
        pytest.param("mariadb", {"mariadb_durable": False}, {"innodb_flush_log_at_trx_commit": "2"}, id="fast-mariadb"),
        pytest.param(
            "mariadb",
            {"mariadb_innodb_buffer_pool_mb": 8, "mariadb_settings": {"skip_name_resolve": False}},
            {"innodb_buffer_pool_size": "8388608", "skip_name_resolve": "OFF"},
            id="settings-mariadb",
        ),
        pytest.param("galera", {"mariadb_durable": False}, {"innodb_flush_log_at_trx_commit": "2"}, id="fast-galera"),
        pytest.param(
            "galera",
            {"galera_sync_wait": 7, "galera_slave_threads": 4, "mariadb_settings": {"x": 1}},
            {"wsrep_sync_wait": "7", "wsrep_slave_threads": "4", "x": "1"},
            id="settings-galera",
        ),
    ],
)
def test_an_option_changes_its_settings_and_no_other(
    name: str, options: dict[str, Any], changed: dict[str, str]
) -> None:
    assert written(name, **options) == {**SETTINGS[name], **changed}


def test_a_dump_replaces_the_database_that_it_finds() -> None:
    script = (ROLES / "mariadb" / "templates" / "snapshot.sh.j2").read_text()
    (dump,) = [line for line in script.replace("\\\n", "").splitlines() if line.startswith("mariadb-dump")]
    assert {"--add-drop-database", "--databases"} <= set(dump.split())
    keeping = ("--no-create", "--no-data", "--insert-ignore", "--replace")
    assert not [word for word in dump.split() if word.startswith(keeping)]
