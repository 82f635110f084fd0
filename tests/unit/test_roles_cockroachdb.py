"""The decisions of the Ansible roles cockroachdb and haproxy, as values: no host, no server."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.role_files import python


def module(name: str, directory: str = "library") -> ModuleType:
    """A module of the role; what it shares with the others is found under Ansible's name for it."""
    for shared in ("client", "values", "schema"):
        full = f"ansible.module_utils.cockroachdb_{shared}"
        if full not in sys.modules:
            sys.modules[full] = python(f"cockroachdb/module_utils/cockroachdb_{shared}.py")
    return python(f"cockroachdb/{directory}/cockroachdb_{name}.py")


client = module("client", "module_utils")
values = module("values", "module_utils")
schema = module("schema", "module_utils")
Refused = sys.modules["ansible.module_utils.cockroachdb_client"].Refused


class Server:
    """What a node answers: statement -> CSV, or a function that gives it; what it was told is kept."""

    server = "10.0.0.1:26257"

    def __init__(self, answers: dict[str, str | Callable[[], str]] | None = None) -> None:
        self.answers = answers or {}
        self.told: list[str] = []

    def sql(self, *statements: str, **_: Any) -> str:
        self.told += statements
        for statement in statements:
            for beginning, answer in self.answers.items():
                if statement.startswith(beginning):
                    found = answer() if callable(answer) else answer
                    if found.startswith("ERROR"):
                        raise Refused(found)
                    return found
        return ""

    def rows(self, statement: str, **options: Any) -> list[dict[str, str]]:
        found: list[dict[str, str]] = client.table(self.sql(statement, **options))
        return found

    def values(self, statements: list[str], **options: Any) -> list[str]:
        return [next(iter(self.rows(statement, **options)[0].values())) for statement in statements]


# What was asked and what is shown


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        pytest.param("serializable", "SERIALIZABLE", id="case"),
        pytest.param(True, "on", id="boolean"),
        pytest.param("off", "false", id="boolean-as-text"),
        pytest.param(5, "5", id="number"),
        pytest.param("30s", "30000", id="timeout-in-milliseconds"),
        pytest.param("90s", "00:01:30", id="duration-as-clock"),
        pytest.param("1h30m", "1h30m0s", id="duration"),
        pytest.param("500ms", "00:00:00.5", id="fraction"),
        pytest.param("25h", "1 day 01:00:00", id="a-day"),
        pytest.param("64 MiB", "64 MiB", id="size"),
        pytest.param("64MB", "61 MiB", id="size-rounded"),
        pytest.param(67108864, "64 MiB", id="size-in-bytes"),
        pytest.param(0.25, "0.25", id="float"),
    ],
)
def test_a_value_the_server_runs_with_is_no_difference(asked: Any, shown: str) -> None:
    assert values.same(asked, shown)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        pytest.param("read committed", "serializable", id="isolation"),
        pytest.param(True, "off", id="boolean"),
        pytest.param(True, "", id="empty"),
        pytest.param(5, "6", id="number"),
        pytest.param("30s", "30", id="seconds-are-not-milliseconds"),
        pytest.param("90s", "00:01:31", id="duration"),
        pytest.param("64 MiB", "72 MiB", id="size"),
        pytest.param("abc", "abd", id="text"),
    ],
)
def test_a_value_the_server_does_not_run_with_is_one(asked: Any, shown: str) -> None:
    assert not values.same(asked, shown)


RAW = """ALTER DATABASE keystone CONFIGURE ZONE USING
\trange_min_bytes = 134217728,
\tgc.ttlseconds = 600,
\tnum_replicas = 3,
\tconstraints = '{+region=lyon: 1}',
\tlease_preferences = '[[+region=lyon], [+region=paris]]'"""


def test_a_zone_is_read_field_by_field() -> None:
    assert values.zone(RAW) == {
        "range_min_bytes": "134217728",
        "gc.ttlseconds": "600",
        "num_replicas": "3",
        "constraints": "{+region=lyon: 1}",
        "lease_preferences": "[[+region=lyon], [+region=paris]]",
    }


@pytest.mark.parametrize(
    ("asked", "statements"),
    [
        pytest.param({"num_replicas": "3", "constraints": '{"+region=lyon": 1}'}, [], id="as-it-is"),
        pytest.param({}, [], id="nothing-asked"),
        pytest.param(
            {"num_replicas": "5", "lease_preferences": "[[+region=paris]]"},
            ["ALTER DATABASE keystone CONFIGURE ZONE USING num_replicas = 5, lease_preferences = '[[+region=paris]]'"],
            id="different",
        ),
    ],
)
def test_a_zone_is_changed_only_where_it_differs(asked: dict[str, str], statements: list[str]) -> None:
    server = Server({"SHOW ZONE": f'target,raw_config_sql\nDATABASE keystone,"{RAW}"\n'})
    assert schema.zoning(server, "DATABASE keystone", asked) == statements


def keystone(**more: Any) -> dict[str, Any]:
    return {"database": "keystone", "user": "keystone", "zone": {}, "multi_region": {}, **more}


def databases(*rows: str) -> str:
    header = "database_name,owner,primary_region,secondary_region,regions,survival_goal"
    return "\n".join((header, *rows)) + "\n"


WIDE = {"primary": "lyon", "regions": ["lyon", "nantes", "paris"], "survive": "region", "global_tables": ["role"]}


def test_multi_region_placement_says_only_what_is_missing() -> None:
    server = Server({"SHOW DATABASES": databases('keystone,keystone,lyon,,"{lyon,nantes}",zone')})
    assert schema.placement(server, keystone(multi_region=WIDE)) == [
        'ALTER DATABASE keystone ADD REGION "paris"',
        "ALTER DATABASE keystone SURVIVE REGION FAILURE",
    ]
    server = Server({"SHOW DATABASES": databases('keystone,keystone,lyon,,"{lyon,nantes,paris}",region')})
    assert schema.placement(server, keystone(multi_region=WIDE)) == []


def test_a_table_is_made_global_once_and_one_that_is_not_is_told() -> None:
    server = Server({"SHOW TABLES": "table_name,locality\nrole,REGIONAL BY TABLE IN PRIMARY REGION\n"})
    assert schema.globals_(server, keystone(multi_region=WIDE)) == [
        'ALTER TABLE keystone.public."role" SET (schema_locked = false)',
        'ALTER TABLE keystone.public."role" SET LOCALITY GLOBAL',
    ]
    assert schema.wrong_globals(server, keystone(multi_region=WIDE)) == ["role"]
    server = Server({"SHOW TABLES": "table_name,locality\nrole,GLOBAL\n"})
    assert schema.globals_(server, keystone(multi_region=WIDE)) == []


# Settings, read back


def provisioned(**changes: str) -> Server:
    answers = {
        "SHOW CLUSTER SETTING diagnostics.reporting.enabled": "diagnostics.reporting.enabled\nfalse\n",
        "SHOW DATABASES": databases("keystone,keystone,,,{},"),
        "SHOW USERS": "username,options,member_of\nroot,,{}\nkeystone,,{}\n",
        "SHOW DEFAULT": "session_variables,default_values\ndefault_transaction_isolation,read committed\n",
        "SHOW ZONE": 'target,raw_config_sql\nx,"ALTER RANGE default CONFIGURE ZONE USING\n\tnum_replicas = 3"\n',
        "SELECT version()": "version\nCockroachDB CCL v25.4.11 (x86_64-pc-linux-gnu)\n",
        "SHOW default_transaction_isolation": "default_transaction_isolation\nread committed\n",
    }
    return Server({**answers, **changes})


ASKED: dict[str, Any] = {
    "keystone": keystone(zone={"num_replicas": "3"}),
    "version": "v25.4.11",
    "replicas": 3,
    "cluster_settings": {"diagnostics.reporting.enabled": False},
    "session_settings": {"default_transaction_isolation": "read committed"},
    "license": "",
}


def test_a_cluster_that_is_as_asked_is_left_alone() -> None:
    server = provisioned()
    assert module("database").converge(server, ASKED) == []
    assert all(statement.startswith(("SHOW", "SELECT")) for statement in server.told)
    assert module("database").read_back(server, ASKED)["default_transaction_isolation"] == "read committed"


def test_an_empty_cluster_gets_everything() -> None:
    server = provisioned(
        **{
            "SHOW CLUSTER SETTING": "x\ntrue\n",
            "SHOW CLUSTER SETTING diagnostics.reporting.enabled": "x\ntrue\n",
            "SHOW DATABASES": databases(),
            "SHOW USERS": "username\nroot\n",
            "SHOW DEFAULT": "session_variables,default_values\n",
            "SHOW ZONE": 'target,raw_config_sql\nx,"ALTER RANGE default CONFIGURE ZONE USING\n\tnum_replicas = 1"\n',
        }
    )
    assert module("database").converge(server, ASKED) == [
        "SET CLUSTER SETTING diagnostics.reporting.enabled = false",
        "CREATE DATABASE IF NOT EXISTS keystone",
        "CREATE USER IF NOT EXISTS keystone",
        "ALTER DATABASE keystone OWNER TO keystone",
        "GRANT ALL ON DATABASE keystone TO keystone",
        "ALTER ROLE keystone RESET ALL",
        "ALTER ROLE keystone SET default_transaction_isolation = 'read committed'",
        "ALTER RANGE default CONFIGURE ZONE USING num_replicas = 3",
        "ALTER DATABASE keystone CONFIGURE ZONE USING num_replicas = 3",
    ]


def test_a_setting_that_was_withdrawn_goes() -> None:
    held = "session_variables,default_values\ndefault_transaction_isolation,read committed\nlock_timeout,5\n"
    assert (
        module("database").session(provisioned(**{"SHOW DEFAULT": held}), ASKED)[0] == "ALTER ROLE keystone RESET ALL"
    )


def test_what_every_user_has_is_not_the_user_s() -> None:
    held = (
        "session_variables,default_values,database,inherited_globally\n"
        "default_transaction_isolation,read committed,NULL,f\nlock_timeout,5,NULL,t\n"
    )
    assert module("database").session(provisioned(**{"SHOW DEFAULT": held}), ASKED) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            {"SHOW default_transaction_isolation": "x\nserializable\n"},
            "default_transaction_isolation is serializable, asked was read committed",
            id="isolation",
        ),
        pytest.param(
            {"SELECT version()": "version\nCockroachDB CCL v25.2.1 (x86_64)\n"}, "asked was v25.4.11", id="release"
        ),
        pytest.param(
            {"SHOW ZONE": 'target,raw_config_sql\nx,"ALTER RANGE default CONFIGURE ZONE USING\n\tnum_replicas = 5"\n'},
            "5 replicas by default, asked were 3",
            id="replicas",
        ),
    ],
)
def test_what_the_server_did_not_take_is_an_error(answer: dict[str, str], said: str) -> None:
    database = module("database")
    with pytest.raises(database.Different, match=said):
        database.read_back(provisioned(**answer), ASKED)


# The fresh state


def test_rows_come_back_parents_first() -> None:
    fresh = module("fresh")
    references = [
        {"child": "assignment", "parent": "role"},
        {"child": "public.user", "parent": "public.project"},
        {"child": "project", "parent": "project"},
        {"child": '"group"', "parent": "absent"},
        {"child": "role", "parent": "user"},
    ]
    order = fresh.ordered(["assignment", "group", "project", "role", "user"], references)
    assert sorted(order) == ["assignment", "group", "project", "role", "user"]
    assert order.index("project") < order.index("user") < order.index("role") < order.index("assignment")


def test_tables_that_refer_to_each_other_are_not_waited_for_for_ever() -> None:
    references = [{"child": "a", "parent": "b"}, {"child": "b", "parent": "a"}]
    assert sorted(module("fresh").ordered(["a", "b"], references)) == ["a", "b"]


def fresh_server(**more: str) -> Server:
    return Server(
        {
            "SELECT table_name": "table_name\nrole\nuser\n",
            "SELECT conrelid": "child,parent\n",
            "SELECT 'role' AS name, count(*) AS rows FROM (": "name,rows\nrole,0\n",
            "SELECT 'role' AS name": "name,rows\nrole,5\nuser,0\n",
            **more,
        }
    )


def test_keystone_is_disconnected_before_its_tables_are_emptied() -> None:
    fresh, server = module("fresh"), fresh_server()
    fresh.by_rows(fresh.Database(server, "keystone"), {"role": 5, "user": 0}, "keystone")
    written = [text for text in server.told if not text.startswith("SELECT")]
    assert [text.split()[0] for text in written] == ["CANCEL", "TRUNCATE", "INSERT"]
    assert 'public."role", public."user"' in written[1]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            {"SELECT 'role' AS name": "name,rows\nrole,6\nuser,0\n"}, "role has 6 rows instead of 5", id="more"
        ),
        pytest.param(
            {"SELECT table_name": "table_name\nrole\nuser\nnew\n"}, "new has no rows instead of no", id="table"
        ),
        pytest.param(
            {"SELECT 'role' AS name, count(*) AS rows FROM (": "name,rows\nrole,2\n"},
            "2 rows of role differ",
            id="other",
        ),
    ],
)
def test_a_state_that_is_not_the_kept_one_is_refused(answer: dict[str, str], said: str) -> None:
    fresh = module("fresh")
    database = fresh.Database(fresh_server(**answer), "keystone")
    rows = {"role": 5, "user": 0} if "new" not in str(answer) else {"role": 5, "user": 0, "new": 1}
    if "new" in str(answer):
        database.counts = lambda tables: {"role": 5, "user": 0}
    with pytest.raises(fresh.Stale, match=said.replace("no rows instead of no", "no rows instead of 1")):
        fresh.verify(database, rows)


def test_the_faster_way_that_works_is_chosen() -> None:
    fresh = module("fresh")
    refused = fresh_server(BACKUP="ERROR: a licence is needed")
    refused.status = lambda *_: [{"id": "3", "address": "10.0.0.1:26257"}]  # type: ignore[attr-defined]
    found = fresh.trial(fresh.Database(refused, "keystone"), {"role": 5, "user": 0}, "keystone", "auto")
    assert found["by"] == "rows"
    assert found["refused"] == {"backup": "ERROR: a licence is needed"}
    with pytest.raises(Refused, match="backup: ERROR"):
        fresh.trial(fresh.Database(refused, "keystone"), {"role": 5, "user": 0}, "keystone", "backup")


def test_a_restored_copy_replaces_the_database_only_when_it_is_right() -> None:
    fresh = module("fresh")
    server = fresh_server(**{"SELECT 'role' AS name": "name,rows\nrole,4\nuser,0\n"})
    about = {"rows": {"role": 5, "user": 0}, "reset": {"backup": "nodelocal://1/x"}}
    with pytest.raises(fresh.Stale):
        fresh.by_backup(fresh.Database(server, "keystone"), keystone(), about)
    assert not any(text.startswith("DROP DATABASE keystone ") for text in server.told)


def test_an_unfinished_copy_is_no_fresh_state() -> None:
    fresh = module("fresh")
    server = Server({"SELECT schema_name": "schema_name\nenos_crdb_fresh\n", "SELECT name, value": "ERROR: no table"})
    assert fresh.Database(server, "keystone").about() == {}
    with pytest.raises(Refused, match="no fresh state"):
        fresh.fresh(fresh.Database(server, "keystone"), {"keystone": keystone()})


# The cluster


def status(*rows: tuple[str, str, str, str]) -> list[dict[str, str]]:
    columns = ("address", "is_live", "ranges_underreplicated", "ranges_unavailable")
    return [{"is_available": row[1], **dict(zip(columns, row, strict=True))} for row in rows]


def test_the_node_that_never_joined_is_named() -> None:
    cluster = module("cluster")
    servers = {"a": "10.0.0.1:1", "b": "10.0.0.2:1", "c": "10.0.0.3:1"}
    found = status(("10.0.0.1:1", "true", "0", "0"), ("10.0.0.3:1", "false", "0", "0"))
    assert cluster.missing(found, servers) == ["b", "c"]


def test_a_dead_node_s_old_counts_do_not_count() -> None:
    found = status(("a", "true", "2", "0"), ("b", "false", "40", "3"), ("c", "true", "", "0"))
    assert module("cluster").unwell(found, "ranges_underreplicated") == 2


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v23.1.28", False), ("v23.2.14", False), ("v23.2.15", True), ("v24.1.6", False), ("v24.1.7", True),
        ("v24.2.5", True), ("v24.3.0", True), ("v24.3.0-rc.1", True), ("v25.4.11", True), ("v26.2.1", True),
    ],
)  # fmt: skip
def test_which_releases_throttle(version: str, expected: bool) -> None:
    assert module("cluster").throttles(version) is expected


def licence(age_days: float, *, licensed: bool = False, nodes: int = 3, throttled: str = "") -> tuple[str, str]:
    cluster = module("cluster")
    cluster.throttled = lambda node: throttled  # type: ignore[attr-defined]
    asked = {"servers": dict.fromkeys(map(str, range(nodes))), "version": "v25.4.11", "licensed": licensed}
    found: tuple[str, str] = cluster.licence(Server(), asked, age_days)
    return found


def test_a_cluster_s_age_is_warned_of_and_refused() -> None:
    assert licence(5.9) == ("", "")
    refused, warned = licence(6.5)
    assert refused == ""
    assert "6.5 days old" in warned
    assert "7.1 days old and has no licence" in licence(7.1)[0]
    assert licence(8, licensed=True) == ("", "")
    assert "throttled" in licence(8, licensed=True, throttled="No telemetry. The maximum ...")[0]
    assert licence(30, nodes=1) == ("", ""), "a single node is never throttled"


def test_the_age_is_counted_from_the_initialisation() -> None:
    now = datetime(2026, 1, 8, 12, tzinfo=timezone.utc)
    assert module("cluster").age_days("2026-01-01T12:00:00+00:00", now) == 7


@pytest.mark.parametrize(
    ("said", "made"),
    [pytest.param("", True, id="made"), pytest.param("ERROR: cluster has already been initialized", False, id="again")],
)
def test_a_cluster_is_initialised_once(said: str, made: bool) -> None:
    class Node:
        def run(self, *_: str, **__: Any) -> str:
            if said:
                raise Refused(said)
            return ""

    assert module("cluster").initialise(Node(), 1) is made


# The clock


TRACKING = "0A5B030B,10.91.3.11,3,1700000000.1,{offset},0.0001,0.0002,1.0,0.1,0.2,{delay},{dispersion},64.0,{leap}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            TRACKING.format(offset="-0.25", delay="0.02", dispersion="0.005", leap="Normal"), 265, id="normal"
        ),
        pytest.param(TRACKING.format(offset="0", delay="0", dispersion="0", leap="Not synchronised"), None, id="alone"),
        pytest.param("506 Cannot talk to daemon", None, id="no-daemon"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_the_largest_possible_offset_is_read(line: str, expected: float | None) -> None:
    assert module("clock").offset_ms(line + "\n") == (pytest.approx(expected) if expected else None)


def test_a_clock_far_off_is_refused_with_its_offset() -> None:
    clock = module("clock")
    assert "off by up to 265 ms" in clock.refusal(265, 200)
    assert "follows no time source" in clock.refusal(None, 200)
    assert clock.refusal(199, 200) == ""


# Counters

VARS = """# HELP sql_select_count Number of SELECTs
# TYPE sql_select_count counter
sql_select_count{node_id="1"} 41
sql_select_count{node_id="1",internal="true"} 1
txn_restarts_serializable{node_id="1"} 3
sql_service_latency_bucket{le="1"} 9
sql_service_latency_sum{node_id="1"} 1.5e+09
sys_cpu_user_ns 1e+10
build_timestamp{tag="v25.4.11"} 1.7e+09
ranges_underreplicated{store="1"} NaN
clock_offset_meannanos -12345 1700000000000
"""


def test_counters_are_summed_over_labels_and_few() -> None:
    assert module("export").counters(VARS) == {
        "sql_select_count": 42,
        "txn_restarts_serializable": 3,
        "sql_service_latency_sum": 1500000000,
        "sys_cpu_user_ns": 10000000000,
        "clock_offset_meannanos": -12345,
    }


class Exporting(Server):
    def get(self, path: str, **_: Any) -> tuple[int, str]:
        return (200, VARS) if path == "/_status/vars" else (404, "")

    def run(self, *words: str, **_: Any) -> str:
        return "id,address\n1,10.0.0.1:26257\n"


def test_what_cannot_be_exported_is_told_and_the_rest_is_written(tmp_path: Path) -> None:
    server = Exporting({"SHOW ZONE": "ERROR: permission denied", "SET allow": "SET\na,b\n1,2\n"})
    (tmp_path / "old.csv").write_text("of an earlier run")
    asked = {
        "version": "v26.2.1",
        "database": "keystone",
        "directory": str(tmp_path),
        "cluster": True,
        "record": str(tmp_path / "absent"),
    }
    export = module("export")
    problems = export.export(server, asked)
    assert (tmp_path / "settings.csv").read_text() == "a,b\n1,2\n", "without what SET printed"
    assert (tmp_path / "vars.prom").read_text() == VARS
    assert not (tmp_path / "old.csv").exists()
    assert json.loads((tmp_path / "problems.json").read_text()) == problems


# The binary


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(44)


def script(version: str = "v25.4.11") -> bytes:
    return f"#!/bin/sh\necho 'Build Tag:        {version}'\necho 'Distribution:     CCL'\n".encode()


class Installing:
    """What AnsibleModule gives to `install`."""

    def __init__(self, **params: str) -> None:
        self.params = params


def archive(path: Path, name: str, content: bytes) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_the_executable_is_installed_from_a_file_or_an_archive(tmp_path: Path, packed: bool) -> None:
    source = tmp_path / "download"
    if packed:
        archive(source, "cockroach-v25.4.11.linux-amd64/cockroach", script())
    else:
        source.write_bytes(script())
    place = tmp_path / "v25.4.11"
    assert module("binary").install(Installing(archive=str(source), version="v25.4.11"), str(place)) == "CCL"
    done = subprocess.run([place / "cockroach", "version"], capture_output=True, text=True, check=True)
    assert "v25.4.11" in done.stdout
    assert not source.exists()
    assert [path.name for path in place.iterdir()] == ["cockroach"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(elf(183), "binary for arm64, but this host is amd64", id="architecture"),
        pytest.param(script("v25.2.1"), r"release v25\.2\.1, but v25\.4\.11 was asked for", id="release"),
        pytest.param(b"hello", "neither an executable nor the official .tgz", id="text"),
        pytest.param(b"#!/bin/sh\nexit 3\n", "ended with status 3", id="broken"),
    ],
)
def test_a_binary_that_does_not_fit_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    binary = module("binary")
    monkeypatch.setattr(binary.platform, "machine", lambda: "x86_64")
    source, place = tmp_path / "download", tmp_path / "v25.4.11"
    source.write_bytes(content)
    with pytest.raises(binary.Unfit, match=said):
        binary.install(Installing(archive=str(source), version="v25.4.11"), str(place))
    assert list(place.iterdir()) == []


def test_an_archive_without_the_executable_is_refused(tmp_path: Path) -> None:
    binary = module("binary")
    source = archive(tmp_path / "download", "cockroach/README", b"x")
    with pytest.raises(binary.Unfit, match="no file called cockroach"):
        binary.install(Installing(archive=str(source), version="v25.4.11"), str(tmp_path / "place"))


# The command line


def test_the_command_line_is_one_process_without_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "cockroach"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\ncat\n')
    fake.chmod(0o755)
    monkeypatch.setattr(client, "BINARY", str(fake))
    node = client.Client("10.0.0.1", 26257, 8080, "/etc/cockroach/certs")
    assert node.sql("SELECT 1", user="keystone", database="keystone").splitlines() == [
        "sql", "--user=keystone", "--database=keystone", "--format=csv", "--execute=SELECT 1",
        "--certs-dir=/etc/cockroach/certs", "--host=10.0.0.1:26257",
    ]  # fmt: skip
    assert "--insecure" in client.Client("10.0.0.1", 26257, 8080, "").run("init")
    seen: list[str] = []
    monkeypatch.setattr(client, "run", lambda *words, stdin, **_: seen.extend((" ".join(words), stdin)))
    node.secret_sql("SET CLUSTER SETTING enterprise.license = 'k'")
    assert "enterprise" not in seen[0], "nothing secret among the arguments"
    assert seen[1] == "SET CLUSTER SETTING enterprise.license = 'k';\n"


def test_a_failure_quotes_what_was_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "cockroach"
    fake.write_text("#!/bin/sh\necho 'ERROR: relation does not exist' >&2\necho 'SQLSTATE: 42P01' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(client, "BINARY", str(fake))
    with pytest.raises(client.Refused, match="ERROR: relation does not exist SQLSTATE: 42P01"):
        client.Client("10.0.0.1", 26257, 8080, "").sql("SELECT 1")
    monkeypatch.setattr(client, "BINARY", os.devnull)
    with pytest.raises(client.Refused, match="cannot be executed"):
        client.Client("10.0.0.1", 26257, 8080, "").sql("SELECT 1")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (0.5, "0.5"),
        ("it's", "'it''s'"),
        ("read committed", "'read committed'"),
    ],
)
def test_a_value_is_written_as_sql(value: Any, expected: str) -> None:
    assert client.literal(value) == expected


# haproxy

STAT = """# pxname,svname,status,last_chk,
cockroachdb,FRONTEND,OPEN,,
cockroachdb,database-1,UP,L7OK,
cockroachdb,database-2,DOWN,L4CON,
cockroachdb,BACKEND,UP,,
"""


def test_a_node_the_proxy_does_not_find_ready_is_named() -> None:
    assert python("haproxy/files/haproxy_state.py").down(STAT) == {"database-2": "DOWN L4CON"}
