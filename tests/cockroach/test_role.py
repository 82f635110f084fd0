"""What the Ansible role asks a server, with the role's own client; one node."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cockroach.conftest import make_database
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


@decides("backup-restore")
def test_a_database_is_backed_up_and_restored(filled: Node, saw: Saw) -> None:
    place = "'nodelocal://1/assumption'"
    for statement in (
        f"BACKUP DATABASE filled INTO {place}",
        f"RESTORE DATABASE filled FROM LATEST IN {place} WITH new_db_name = 'filled_restored'",
    ):
        try:
            filled.client.sql(statement, timeout_s=300)
        except role_module("module_utils", "cockroachdb_client").Refused as refusal:
            raise AssertionError(f"{statement}: {refusal}") from None
    count = filled.client.value("SELECT count(*) FROM filled_restored.public.parent")
    saw(f"{count} rows came back")
    assert count == "2"
    filled.client.sql("DROP DATABASE filled_restored CASCADE")


@decides("rows-reset")
def test_rows_are_written_anew(filled: Node, saw: Saw) -> None:
    client = filled.client
    client.sql(
        "DROP SCHEMA IF EXISTS fresh CASCADE",
        "CREATE SCHEMA fresh",
        "CREATE TABLE fresh.parent AS SELECT * FROM public.parent",
        "CREATE TABLE fresh.child AS SELECT * FROM public.child",
        "INSERT INTO public.parent VALUES (9)",
        "TRUNCATE TABLE public.parent, public.child CASCADE",
        "INSERT INTO public.parent SELECT * FROM fresh.parent",
        "INSERT INTO public.child SELECT * FROM fresh.child",
        database="filled",
    )
    differing = client.value(
        "SELECT count(*) FROM (SELECT * FROM public.parent EXCEPT SELECT * FROM fresh.parent) AS d", database="filled"
    )
    rows = client.value("SELECT count(*) FROM public.parent", database="filled")
    saw(f"{rows} rows, {differing} differ")
    assert (rows, differing) == ("2", "0")


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
