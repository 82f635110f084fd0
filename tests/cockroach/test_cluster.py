"""Three nodes with certificates, and one of them killed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cockroach.conftest import make_database, schema_parameters
from tests.cockroach.server import REGIONS, Cluster, role_module
from tests.keystone import RELEASES, Keystone, environment

pytestmark = [pytest.mark.cockroach]
decides = pytest.mark.decides

Saw = Callable[[str], None]
COLUMNS = {
    "id",
    "address",
    "build",
    "locality",
    "is_available",
    "is_live",
    "ranges_unavailable",
    "ranges_underreplicated",
}


@decides("notify-before-init")
def test_systemd_is_told_before_init(cluster: Cluster, saw: Saw) -> None:
    saw("READY=1 came before init" if cluster.ready_before_init else "READY=1 did not come within 30 s before init")
    assert cluster.ready_before_init


@decides("health-before-init")
def test_a_node_is_not_ready_before_init(cluster: Cluster, saw: Saw) -> None:
    after = cluster.first.client.get("/health?ready=1")[0]
    saw(f"before {cluster.health_before_init or 'no answer'}, after {after}")
    assert cluster.health_before_init != 200
    assert after == 200


@decides("init-once")
def test_a_second_init_changes_nothing(cluster: Cluster, saw: Saw) -> None:
    saw(cluster.second_init)
    assert "already been initialized" in cluster.second_init


@decides("certificates")
def test_our_certificates_are_taken(cluster: Cluster, probe: Callable[..., Any], saw: Saw) -> None:
    rows = cluster.first.client.rows("SELECT current_user", user="keystone", database="keystone")
    through = probe("engine", cluster.nodes["two"].url("keystone"), "SELECT current_user")
    saw(f"command line {rows}, libpq {through}")
    assert list(rows[0].values()) == ["keystone"]
    assert through == ["keystone"]


@decides("certificate-is-user")
def test_a_certificate_is_for_its_user(cluster: Cluster, tmp_path: Path, saw: Saw) -> None:
    keys = Path(cluster.first.certificates)
    for kind in ("crt", "key"):
        # keystone's certificate, offered as root's
        (tmp_path / f"client.root.{kind}").touch(mode=0o600)
        (tmp_path / f"client.root.{kind}").write_bytes((keys / f"client.keystone.{kind}").read_bytes())
    (tmp_path / "ca.crt").write_bytes((keys / "ca.crt").read_bytes())
    module = role_module("module_utils", "cockroachdb_client")
    client = module.Client("127.0.0.1", cluster.first.port, cluster.first.http_port, str(tmp_path))
    with pytest.raises(module.Refused) as refusal:
        client.sql("SELECT 1")
    saw(str(refusal.value)[:200])


@decides("node-status")
def test_every_node_is_live_and_every_range_whole(cluster: Cluster, saw: Saw) -> None:
    servers = {name: f"127.0.0.1:{node.port}" for name, node in cluster.nodes.items()}
    began = time.monotonic()
    rows, trouble = role_module("library", "cockroachdb_cluster").whole(cluster.first.client, servers, 300)
    saw(f"whole after {time.monotonic() - began:.0f} s; columns {', '.join(rows[0])}" if rows else trouble)
    assert not trouble
    assert set(rows[0]) >= COLUMNS


@decides("zones")
def test_a_zone_is_what_it_was_told(cluster: Cluster, saw: Saw) -> None:
    client, schema = cluster.first.client, role_module("module_utils", "cockroachdb_schema")
    make_database(cluster.first, "placed")
    wanted = {
        "num_replicas": "3",
        "gc.ttlseconds": "600",
        "constraints": '{"+region=lyon": 1}',
        "lease_preferences": "[[+region=nantes]]",
    }
    for statement in schema.zoning(client, "DATABASE placed", wanted):
        client.sql(statement)
    saw(str(schema.zone_of(client, "DATABASE placed")))
    # What the role would still change after it has changed it.
    assert schema.zoning(client, "DATABASE placed", wanted) == []


@decides("leases-move")
def test_leases_move_to_the_preferred_region(cluster: Cluster, saw: Saw) -> None:
    client = cluster.first.client
    make_database(cluster.first, "moving")
    client.sql("CREATE TABLE IF NOT EXISTS public.t (a INT PRIMARY KEY)", database="moving")
    client.sql("ALTER DATABASE moving CONFIGURE ZONE USING num_replicas = 3, lease_preferences = '[[+region=lyon]]'")
    began = time.monotonic()
    places: set[str] = set()
    while time.monotonic() < began + 120:
        rows = client.rows("SHOW RANGES FROM DATABASE moving WITH TABLES, DETAILS")
        places = {row["lease_holder_locality"] for row in rows}
        if all("region=lyon" in place for place in places):
            break
        time.sleep(2)
    saw(f"after {time.monotonic() - began:.0f} s: {sorted(places)}")
    assert places
    assert all("region=lyon" in place for place in places)


@decides("multi-region")
def test_multi_region_sql(cluster: Cluster, saw: Saw) -> None:
    client = cluster.first.client
    refused = role_module("module_utils", "cockroachdb_client").Refused
    make_database(cluster.first, "wide")
    client.sql("CREATE TABLE IF NOT EXISTS public.role (a INT PRIMARY KEY)", database="wide")
    others = [region for region in REGIONS.values() if region != "paris"]
    statements = [
        'ALTER DATABASE wide SET PRIMARY REGION "paris"',
        *(f'ALTER DATABASE wide ADD REGION "{region}"' for region in others),
        "ALTER DATABASE wide SURVIVE REGION FAILURE",
    ]
    if _locks_tables(client):
        statements.append("ALTER TABLE wide.public.role SET (schema_locked = false)")
    statements.append("ALTER TABLE wide.public.role SET LOCALITY GLOBAL")
    for statement in statements:
        try:
            client.sql(statement, timeout_s=300)
        except refused as refusal:
            raise AssertionError(f"{statement}: {refusal}") from None
    shown = client.rows("SHOW DATABASES")
    saw(str(next(row for row in shown if row["database_name"] == "wide")))


def _locks_tables(client: Any) -> bool:
    return "schema_locked" in str(client.rows("SHOW CREATE TABLE public.role", database="wide"))


@pytest.fixture(scope="module")
def keystone(cluster: Cluster, scratch: Path, line: tuple[int, int]) -> Keystone:
    """Keystone on the first node, with TLS."""
    made = Keystone(
        directory=scratch / "secure-keystone",
        python=environment(RELEASES[-1]),
        url=cluster.first.url("keystone"),
        schema_parameters=schema_parameters(line),
    )
    for ended in (made.db_sync(), made.bootstrap()):
        if ended.status:
            raise RuntimeError(f"there is no Keystone to ask: {ended.errors[-800:]}")
    return made


@decides("keystone-with-tls")
def test_keystone_on_three_nodes(keystone: Keystone, saw: Saw) -> None:
    drive = keystone.drive(threads=2, seed=1, timeout_s=1200)
    saw(f"{drive.requests} requests in {drive.seconds:.0f} s, {drive.total['replays']} replays")
    drive.check()


@decides("node-killed")
def test_a_node_is_killed_under_load(keystone: Keystone, cluster: Cluster, saw: Saw) -> None:
    killed: list[float] = []

    def kill() -> None:
        time.sleep(15)  # into the requests, after Keystone has started
        cluster.nodes["three"].stop(signal.SIGKILL)
        killed.append(time.monotonic())

    thread = threading.Thread(target=kill)
    thread.start()
    drive = keystone.drive(threads=4, seed=2, timeout_s=1800)
    thread.join()
    ended = time.monotonic()
    cluster.restart("three")
    surprising = [answer for answer in drive.unexpected if not _unknown_result(answer)]
    total = drive.total
    saw(
        f"{drive.requests} requests, killed {ended - killed[0]:.0f} s before their end, {total['replays']} replays, "
        f"{total['reconnects']} reconnects, {len(drive.unexpected)} failed, of which "
        f"{len(drive.unexpected) - len(surprising)} with an unknown result"
    )
    assert not drive.wrong, drive.wrong[:2]
    assert not surprising, surprising[:2]


def _unknown_result(answer: Any) -> bool:
    """A commit of which nobody knows whether it happened: 40003, `result is ambiguous`."""
    return "ambiguous" in str(answer.get("answer")).lower() or "40003" in str(answer.get("answer"))
