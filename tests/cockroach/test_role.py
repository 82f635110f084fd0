"""What the Ansible role asks a server, with the role's own client; one node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.cockroach.conftest import Steps, make_database
from tests.cockroach.server import Node, role_module
from tests.cockroach.verdicts import Executable

pytestmark = [pytest.mark.cockroach]
decides = pytest.mark.decides

Saw = Callable[[str], None]

EXPLAINING = {
    "sql_query_count": "load",
    "sql_txn_commit_count": "transactions",
    "sql_txn_rollback_count": "transactions",
    "txn_commits": "transactions",
    "txn_aborts": "conflicts",
    "txn_restarts_serializable": "conflicts",
    "txn_restarts_writetooold": "conflicts",
    "distsender_rpc_sent": "messages between nodes",
    "distsender_rpc_sent_local": "messages between nodes",
    "replicas_leaseholders": "leases",
    "ranges_underreplicated": "replicas",
    "clock_offset_meannanos": "clocks",
    "sys_rss": "memory",
}
"""Counters without which a result cannot be explained."""


@pytest.fixture(scope="module")
def filled(single: Node) -> Node:
    """The node, with a database `filled` of two tables."""
    make_database(single, "filled")
    statements = [
        "CREATE TABLE IF NOT EXISTS public.parent (a INT PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS public.child (a INT PRIMARY KEY REFERENCES public.parent (a))",
        "INSERT INTO public.parent VALUES (1), (2) ON CONFLICT DO NOTHING",
        "INSERT INTO public.child VALUES (1) ON CONFLICT DO NOTHING",
    ]
    single.client.sql(*statements, database="filled")
    return single


@decides("unsafe-internals")
def test_what_is_exported_can_be_read(filled: Node, executable: Executable, saw: Saw) -> None:
    client, export = role_module("module_utils", "cockroachdb_client"), role_module("library", "cockroachdb_export")
    refused = {}
    for name, query in export.PER_CLUSTER.items():
        try:
            filled.client.rows(query.format(database="filled"), before=client.internals(executable.build_tag))
        except client.Refused as refusal:
            refused[name] = str(refusal)
    saw(f"{len(export.PER_CLUSTER)} queries, refused: {refused or 'none'}")
    assert not refused


@decides("ranges")
def test_ranges_tell_their_leases(filled: Node, saw: Saw) -> None:
    rows = filled.client.rows("SHOW RANGES FROM DATABASE filled WITH TABLES, DETAILS")
    saw(", ".join(rows[0]) if rows else "no range")
    assert rows
    assert {"range_id", "table_name", "lease_holder", "lease_holder_locality", "replicas", "range_size_mb"} <= set(
        rows[0]
    )


@decides("status-vars")
def test_the_counters_that_explain_a_result_exist(filled: Node, saw: Saw) -> None:
    status, text = filled.client.get("/_status/vars")
    assert status == 200
    counters = role_module("library", "cockroachdb_export").counters(text)
    missing = sorted(set(EXPLAINING) - set(counters))
    saw(f"{len(counters)} counters; missing: {missing or 'none'}")
    assert not missing


@decides("rows-reset")
def test_the_rows_that_were_kept_come_back(filled: Node, saw: Saw) -> None:
    fresh = role_module("library", "cockroachdb_fresh")
    database = fresh.Database(filled.client, "filled")
    rows = fresh.keep(database)
    database.do("INSERT INTO public.parent VALUES (9)", "DELETE FROM public.child")
    with _refusals_are_answers():
        began = time.monotonic()
        fresh.by_rows(database, rows, "keystone")  # compares every row itself
        saw(f"{rows} in {time.monotonic() - began:.1f} s")


@decides("backup-restore")
def test_a_backup_comes_back_beside_the_database(filled: Node, saw: Saw) -> None:
    fresh = role_module("library", "cockroachdb_fresh")
    database = fresh.Database(filled.client, "filled")
    tried = fresh.trial(database, fresh.keep(database), "keystone", "auto")
    saw(f"seconds {tried['took_s']}, refused {tried['refused'] or 'none'}")
    assert "backup" in tried["took_s"]


@decides("cancel-sessions")
def test_keystones_sessions_are_ended(filled: Node, ask: Steps, saw: Saw) -> None:
    url = f"postgresql://keystone@127.0.0.1:{filled.port}/filled?sslmode=disable"
    end = "CANCEL SESSIONS IF EXISTS (SELECT session_id FROM [SHOW CLUSTER SESSIONS] WHERE user_name = 'keystone')"
    answers = ask("open", "SELECT 1", "root", end, "open", "SELECT 1", urls={"open": url})
    saw(f"{answers[1]['message'] or 'ended'}; then {answers[2]['sqlstate']} {answers[2]['message'][:120]}")
    assert not answers[1]["message"]
    assert answers[2]["sqlstate"] in ("57P01", "57014", "")
    assert answers[2]["message"]


@decides("provisioning")
def test_what_the_role_sets_it_reads_back(single: Node, saw: Saw) -> None:
    module = role_module("library", "cockroachdb_database")
    asked = {
        "keystone": {"database": "provided", "user": "provider", "zone": {"gc.ttlseconds": "600"}, "multi_region": {}},
        "replicas": 1,
        "license": "",
        "cluster_settings": {"diagnostics.reporting.enabled": False, "sql.stats.automatic_collection.enabled": True},
        "session_settings": {"default_transaction_isolation": "serializable", "statement_timeout": "61s"},
    }
    with _refusals_are_answers():
        first = module.converge(single.client, asked)
        held = module.read_back(single.client, asked)
        second = module.converge(single.client, asked)
    saw(f"{len(first)} statements, then {second or 'none'}; {held}")
    assert second == []


@contextmanager
def _refusals_are_answers() -> Iterator[None]:
    """What the server refuses, or has otherwise than asked, refutes; anything else is a fault of the test."""
    client, fresh = role_module("module_utils", "cockroachdb_client"), role_module("library", "cockroachdb_fresh")
    try:
        yield
    except (client.Refused, fresh.Stale, role_module("library", "cockroachdb_database").Different) as answer:
        raise AssertionError(str(answer)) from None


@decides("not-throttled")
def test_seven_transactions_at_once(single: Node, saw: Saw) -> None:
    refused = role_module("module_utils", "cockroachdb_client").Refused

    def hold(_: int) -> str:
        try:
            single.client.sql("BEGIN; SELECT pg_sleep(1); COMMIT")
        except refused as refusal:
            return str(refusal)
        return ""

    with ThreadPoolExecutor(7) as pool:
        said = [text for text in pool.map(hold, range(7)) if text]
    saw(said[0] if said else "all of seven were taken")
    assert not said
