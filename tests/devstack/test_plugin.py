"""What the plugin does in each phase of DevStack. Database and DevStack are doubles; nothing here is a measurement."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from enos_crdb import shipped
from tests.devstack.recorder import ADMIN_PASSWORD, DATABASE_PASSWORD, DevStackRecorder

TYPES = ("enos_postgresql", "enos_mariadb", "enos_cockroachdb")
FUNCTIONS = (
    "get_database_type",
    "install_database",
    "install_database_python",
    "configure_database",
    "recreate_database",
    "database_connection_url",
    "cleanup_database",
)
WRITES = ("db_sync", "bootstrap --", "database.py empty", "--timeout-s 900 empty")


@pytest.fixture
def devstack(tmp_path: Path) -> DevStackRecorder:
    return DevStackRecorder(tmp_path)


@pytest.mark.parametrize("name", TYPES)
def test_a_database_type_is_whole(name: str) -> None:
    text = (shipped.directory("devstack_plugin") / "devstack/lib/databases" / name).read_text(encoding="utf-8")
    assert f"register_database {name}\n" in text
    assert set(re.findall(r"^function (\w+)", text, re.MULTILINE)) == {f"{function}_{name}" for function in FUNCTIONS}


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("enos_postgresql", ["psycopg2-binary"]),
        ("enos_mariadb", ["PyMySQL"]),
        ("enos_cockroachdb", ["psycopg2-binary", "sqlalchemy-cockroachdb"]),
    ],
)
def test_stack_ends_well_on_each_database_type(tmp_path: Path, name: str, packages: list[str]) -> None:
    recorded = DevStackRecorder(tmp_path, name).run()
    assert recorded.status == 0, recorded.trace
    assert recorded.lines[-1] == "step stack.sh completed"
    assert recorded.like("call pip_install") == [f"call pip_install {package}" for package in packages]


def test_drivers_packages_and_wheels_are_there_before_the_schema_is_made(devstack: DevStackRecorder) -> None:
    recorded = devstack.run(ENOS_CRDB_WHEELS="/w/keystone_crdb.whl", ENOS_CRDB_PACKAGES="prometheus-client xyz")
    order = [
        "phase stack pre-install",
        "call pip_install psycopg2-binary",
        "step configure_keystone",
        "call pip_install prometheus-client xyz",
        "run python3 -m pip install --quiet --no-index --no-deps --force-reinstall /w/keystone_crdb.whl",
        "run python3 /opt/stack/enos_crdb/devstack/tools/merge_ini.py /etc/keystone/keystone.conf",
        "step init_keystone",
        "run keystone-manage --config-file /etc/keystone/keystone.conf db_sync",
        "step start_keystone",
        "run keystone-manage --config-file /etc/keystone/keystone.conf bootstrap",
    ]
    found = [recorded.index(beginning) for beginning in order]
    assert found == sorted(found), "\n".join(recorded.lines)


def test_a_wheel_is_installed_offline_too(devstack: DevStackRecorder) -> None:
    """DevStack's own pip_install does nothing then; a changed keystone_crdb must arrive nevertheless."""
    recorded = devstack.run(ENOS_CRDB_WHEELS="/w/keystone_crdb.whl", OFFLINE="True")
    assert recorded.like("-m pip install")
    assert not [line for line in recorded.like("call pip_install") if "keystone_crdb" in line]


def test_pins_replace_those_of_the_release(devstack: DevStackRecorder) -> None:
    recorded = devstack.run(ENOS_CRDB_CONSTRAINTS="SQLAlchemy===2.0.52 a-b===1")
    constraints = "/opt/stack/requirements/upper-constraints.txt"
    assert recorded.like("edit-constraints") == [
        f"run edit-constraints {constraints} -- SQLAlchemy SQLAlchemy===2.0.52",
        f"run edit-constraints {constraints} -- a-b a-b===1",
    ]
    assert recorded.index("run edit-constraints") < recorded.index("step install_database_python")


def test_the_configuration_is_merged_before_db_sync_reads_it(devstack: DevStackRecorder) -> None:
    recorded = devstack.run()
    seen = recorded.ini("keystone.conf-of-keystone-manage")
    assert seen["database"]["connection"].endswith(f":{DATABASE_PASSWORD}@192.0.2.20:5432/keystone?a=1&b=2")
    assert seen["identity"]["password_hash_rounds"] == "4", "ours wins"
    assert seen["identity"]["driver"] == "sql", "DevStack's stays"
    assert seen["DEFAULT"]["public_endpoint"] == "http://192.0.2.10/identity"


def test_uwsgi_gets_the_workers_that_were_asked_for(devstack: DevStackRecorder) -> None:
    devstack.write("uwsgi.ini", "[uwsgi]\nprocesses = 7\nlog-format = %(method) %(uri) %(status) %(msecs) ms\n")
    uwsgi = devstack.run().ini("etc/keystone/keystone-uwsgi-public.ini")["uwsgi"]
    assert uwsgi["processes"] == "7"
    assert uwsgi["log-format"] == "%(method) %(uri) %(status) %(msecs) ms"
    assert uwsgi["hook-master-start"] == "unix_signal:15 gracefully_kill_them_all"
    assert uwsgi["start-time"] == "%t"


def test_db_sync_has_its_own_configuration_when_there_is_one(devstack: DevStackRecorder) -> None:
    devstack.write("db_sync.conf", "[database]\nconnection_parameters = plugin=keystone_crdb\n")
    recorded = devstack.run()
    assert recorded.like("db_sync") == [
        "run keystone-manage --config-file /etc/keystone/keystone.conf"
        " --config-file /opt/stack/enos_crdb-files/db_sync.conf db_sync"
    ]


def test_keys_are_those_of_the_deployment_and_private(devstack: DevStackRecorder) -> None:
    devstack.write("private/cockroachdb/ca.crt", "certificate")
    old = devstack.root / "etc/keystone/fernet-keys/7"
    old.parent.mkdir(parents=True)
    old.write_text("withdrawn", encoding="utf-8")
    devstack.run()
    keystone = devstack.root / "etc/keystone"
    assert not old.exists()
    assert (keystone / "fernet-keys/1").read_text(encoding="utf-8") == "key fernet-keys/1"
    for path in (keystone / "fernet-keys", keystone / "cockroachdb"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (keystone / "credential-keys/0", keystone / "cockroachdb/ca.crt"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_unit_counts_where_keystone_crdb_is_asked(devstack: DevStackRecorder) -> None:
    recorded = devstack.run()
    unit = (devstack.root / "systemd/devstack@keystone.service.d/enos_crdb.conf").read_text(encoding="utf-8")
    assert "Environment=PROMETHEUS_MULTIPROC_DIR=/run/keystone/counters\n" in unit
    assert recorded.index("run sudo install") < recorded.index("step start_keystone")


def test_bootstrap_makes_every_endpoint_of_every_region(devstack: DevStackRecorder) -> None:
    recorded = devstack.run()
    bootstraps = recorded.like("bootstrap --bootstrap")
    assert len(bootstraps) == 2
    for line, number in zip(bootstraps, (1, 2), strict=True):
        assert f"--bootstrap-region-id keystone-{number} " in line
        for interface in ("public", "internal", "admin"):
            assert f"--bootstrap-{interface}-url http://192.0.2.1{number - 1}/identity/v3" in line
    assert recorded.like("environment OS_BOOTSTRAP_PASSWORD=given")


def test_without_a_list_the_only_endpoint_is_this_host(devstack: DevStackRecorder) -> None:
    devstack.localrc.pop("ENOS_CRDB_ENDPOINTS")
    bootstraps = devstack.run().like("bootstrap --bootstrap")
    assert len(bootstraps) == 1
    assert "--bootstrap-region-id keystone-1 --bootstrap-public-url http://192.0.2.10/identity/v3 " in bootstraps[0]


def test_bootstrap_keeps_what_is_in_the_database(devstack: DevStackRecorder) -> None:
    recorded = devstack.run()
    assert not recorded.like("empty")
    assert not recorded.like("recreate_database")


def test_bootstrap_empties_the_schema_when_asked(devstack: DevStackRecorder) -> None:
    recorded = devstack.run(ENOS_CRDB_RECREATE="True")
    empty = recorded.index(
        "run python3 /opt/stack/enos_crdb/devstack/tools/database.py --config-file /etc/keystone/keystone.conf"
        " --timeout-s 900 empty"
    )
    assert empty < recorded.index("run keystone-manage")


def test_join_writes_nothing_to_the_database_and_waits_for_its_region(devstack: DevStackRecorder) -> None:
    recorded = devstack.run(ENOS_CRDB_MODE="join", ENOS_CRDB_RECREATE="True", ENOS_CRDB_DEMO_ACCOUNTS="True")
    assert recorded.status == 0, recorded.trace
    assert not [line for line in recorded.lines if any(word in line for word in WRITES)]
    assert not recorded.like("run keystone-manage")
    assert not recorded.like("stock ")
    waits = recorded.like("registered --region keystone-1")
    assert len(waits) == 1
    assert recorded.index(waits[0]) < recorded.index("step start_keystone")


def test_join_refuses_to_empty_the_database(devstack: DevStackRecorder) -> None:
    """Whoever calls it: another plugin, or a hand on the keyboard."""
    plugin = devstack.root / "opt/stack/enos_crdb/devstack/plugin.sh"
    plugin.write_text(f"{plugin.read_text(encoding='utf-8')}\nrecreate_database keystone\n", encoding="utf-8")
    recorded = devstack.run(ENOS_CRDB_MODE="join")
    assert recorded.status != 0
    assert "Other Keystones use this database" in recorded.trace
    assert not recorded.like(" empty")


def test_tables_of_others_are_in_sqlite(devstack: DevStackRecorder) -> None:
    """Rally's plugin calls these two; its tables must not load the database under test."""
    plugin = devstack.root / "opt/stack/enos_crdb/devstack/plugin.sh"
    rally = 'record "rally-url $(database_connection_url rally)"; recreate_database rally utf8'
    extra = f'if [[ "$2" == extra ]]; then {rally}; fi\n'
    plugin.write_text(f"{plugin.read_text(encoding='utf-8')}\n{extra}", encoding="utf-8")
    old = devstack.root / "opt/stack/data/enos_crdb/rally.sqlite"
    old.parent.mkdir(parents=True)
    old.touch()
    recorded = devstack.run()
    assert recorded.like("rally-url") == ["rally-url sqlite:////opt/stack/data/enos_crdb/rally.sqlite"]
    assert not old.exists()
    assert not recorded.like(" empty")


@pytest.mark.parametrize("asked", [True, False])
def test_demo_accounts_are_made_when_asked(devstack: DevStackRecorder, asked: bool) -> None:
    recorded = devstack.run(ENOS_CRDB_DEMO_ACCOUNTS=str(asked))
    assert bool(recorded.like("stock create_keystone_accounts")) is asked
    assert bool(recorded.like("call async_run enos_crdb true")) is not asked, "the summary of stack.sh divides by it"


def test_no_password_is_in_the_trace_or_in_a_command_line(devstack: DevStackRecorder) -> None:
    recorded = devstack.run(ENOS_CRDB_RECREATE="True")
    assert "+ enos_crdb_configure" in recorded.trace, "the trace must be on for this test to say anything"
    for password in (DATABASE_PASSWORD, ADMIN_PASSWORD):
        assert password not in recorded.trace
        assert not recorded.like(password)


def test_a_second_run_leaves_one_entry_in_apaches_site(devstack: DevStackRecorder) -> None:
    devstack.run()
    devstack.run()
    assert (devstack.root / "apache/keystone-api.conf").read_text(encoding="utf-8") == "ProxyPass /identity\n"


@pytest.mark.parametrize(
    ("fail", "reached", "never"),
    [
        ("db_sync", "step init_keystone", "step start_keystone"),
        ("bootstrap", "step bootstrap_keystone", "step create_keystone_accounts"),
        ("wait", "step configure_database", "step init_keystone"),
        ("-m pip", "phase stack install", "step configure_database"),
    ],
)
def test_a_failure_stops_stack(devstack: DevStackRecorder, fail: str, reached: str, never: str) -> None:
    recorded = devstack.run(fail=fail, ENOS_CRDB_WHEELS="/w/x.whl")
    assert recorded.status != 0
    assert recorded.like(reached)
    assert not recorded.like(never)


@pytest.mark.parametrize(
    ("localrc", "missing", "sentence"),
    [
        ({"ENOS_CRDB_MODE": "joined"}, "", "ENOS_CRDB_MODE is 'joined'"),
        ({"REGION_NAME": "elsewhere"}, "", "ENOS_CRDB_ENDPOINTS does not name the region of this host, elsewhere"),
        ({}, "keystone.conf", "enos_crdb-files/keystone.conf cannot be read"),
        ({}, "private/fernet-keys/0", "private/fernet-keys/0 cannot be read"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_installed(
    devstack: DevStackRecorder, localrc: dict[str, str], missing: str, sentence: str
) -> None:
    if missing:
        (devstack.files / missing).unlink()
    recorded = devstack.run(**localrc)
    assert recorded.status != 0
    assert sentence in recorded.trace
    assert not recorded.like("pip_install")


def test_a_stock_database_type_is_refused(tmp_path: Path) -> None:
    """It would install, restart or purge a server."""
    recorded = DevStackRecorder(tmp_path, "mysql").run()
    assert recorded.status != 0
    assert "The database type is 'mysql'" in recorded.trace
    assert not recorded.like("step install_database")


def test_a_devstack_that_lost_a_step_is_refused(devstack: DevStackRecorder) -> None:
    recorded = devstack.run(without="init_keystone")
    assert recorded.status != 0
    assert "no function init_keystone" in recorded.trace
    assert not recorded.like("pip_install")


@pytest.mark.parametrize("script", ["unstack", "clean"])
def test_unstack_and_clean_leave_the_database_alone(devstack: DevStackRecorder, script: str) -> None:
    devstack.run()
    recorded = devstack.run(script)
    assert recorded.status == 0, recorded.trace
    assert not recorded.like("database.py")
    assert not recorded.like("purge")
    assert not recorded.like("run keystone-manage")


def test_clean_works_without_the_files_of_the_deployment(devstack: DevStackRecorder) -> None:
    shutil.rmtree(devstack.files)
    recorded = devstack.run("clean")
    assert recorded.lines[-1] == "step clean.sh completed"
    assert "not found" not in recorded.trace


def test_clean_removes_what_devstack_forgets(devstack: DevStackRecorder) -> None:
    devstack.run()
    recorded = devstack.run("clean")
    assert recorded.like("call disable_apache_site keystone-api")
    assert not (devstack.root / "apache/keystone-api.conf").exists()
    assert not (devstack.root / "systemd/devstack@keystone.service.d").exists()


def test_clean_keeps_drop_ins_of_others(devstack: DevStackRecorder) -> None:
    devstack.run()
    other = devstack.root / "systemd/devstack@keystone.service.d/other.conf"
    other.touch()
    assert devstack.run("clean").status == 0
    assert other.exists()


def test_settings_touch_nothing(devstack: DevStackRecorder) -> None:
    before = sorted(path for path in devstack.root.rglob("*") if path.is_file())
    recorded = devstack.run("unstack")
    after = {path for path in devstack.root.rglob("*") if path.is_file()} - {
        devstack.root / "record",
        devstack.root / "localrc",
    }
    assert sorted(after) == before
    assert not recorded.like("run ")


def test_merging_fails_on_a_file_that_is_none(tmp_path: Path) -> None:
    target, source = tmp_path / "a.conf", tmp_path / "b.conf"
    target.write_text("[a]\nb = 1\n", encoding="utf-8")
    source.write_text("no section\n", encoding="utf-8")
    tool = shipped.directory("devstack_plugin") / "devstack/tools/merge_ini.py"
    done = subprocess.run(
        [sys.executable, str(tool), str(target), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert target.read_text(encoding="utf-8") == "[a]\nb = 1\n"
