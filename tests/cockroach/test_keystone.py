"""Keystone on one node: migrations and API requests of every offered release."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cockroach.conftest import Keystones
from tests.cockroach.server import Node
from tests.keystone import RELEASES, Drive, PostgreSQL, environment, missing_postgresql
from tests.keystone.service import Keystone

pytestmark = [pytest.mark.cockroach]
decides = pytest.mark.decides

Saw = Callable[[str], None]
NEWEST = RELEASES[-1]


def _right(drive: Drive, saw: Saw) -> Drive:
    """Nothing unexpected, nothing wrong."""
    total = drive.counters.get("total", {})
    saw(f"{drive.requests} requests in {drive.seconds:.0f} s, {total.get('replays', '?')} replays")
    return drive.check()


@decides("db-sync")
@pytest.mark.parametrize("release", RELEASES)
def test_db_sync(keystones: Keystones, release: str, saw: Saw) -> None:
    keystone, ended = keystones.synced(release)
    saw(f"{release}: {ended.seconds:.0f} s")
    assert ended.status == 0, ended.errors[-1500:]
    again = keystone.db_sync("--check")
    assert again.status == 0, f"db_sync --check: {again.status} {again.output[-300:]}"


@decides("db-sync-duration")
def test_db_sync_takes_less_than_three_minutes(keystones: Keystones, saw: Saw) -> None:
    ended = keystones.synced(NEWEST)[1]
    saw(f"{ended.seconds:.0f} s")
    if ended.status:
        raise RuntimeError("db_sync failed")
    assert ended.seconds < 180


@decides("migrations-command")
def test_migrations_one_by_one(keystones: Keystones, saw: Saw) -> None:
    keystone = keystones.empty("migrations", NEWEST)
    files = [
        word
        for path in (keystone.configuration, keystone.schema_configuration)
        for word in ("--config-file", str(path))
    ]
    ended = keystone.package("migrations", *files, "--json")
    revisions = json.loads(ended.output)["revisions"]
    bad = [step for step in revisions if step["outcome"] != "passed"]
    saw(f"{len(revisions)} revisions in {ended.seconds:.0f} s; not passed: {bad or 'none'}")
    assert ended.status == 0
    assert not bad


@decides("same-tables")
def test_the_schema_is_postgresqls(keystones: Keystones, scratch: Path, probe: Callable[..., Any], saw: Saw) -> None:
    if reason := missing_postgresql():
        pytest.skip(reason)
    keystone, ended = keystones.synced(NEWEST)
    if ended.status:
        raise RuntimeError("db_sync failed")
    with PostgreSQL(scratch / "postgresql") as server:
        url = server.create("keystone")
        other = Keystone(directory=scratch / "on-postgresql", python=environment(NEWEST), url=url)
        other.db_sync().check()
        wanted = probe("schema", url)
    found = probe("schema", keystone.url)
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    saw(f"{len(found)} tables; {len(differing)} differ")
    assert sorted(found) == sorted(wanted)
    assert not differing, json.dumps({name: (found[name], wanted[name]) for name in differing[:3]})


@decides("reflection")
def test_project_is_reflected(keystones: Keystones, probe: Callable[..., Any], saw: Saw) -> None:
    keystone, ended = keystones.synced(NEWEST)
    if ended.status:
        raise RuntimeError("db_sync failed")
    found = probe("reflect", keystone.url, "project")
    saw(json.dumps(found)[:400])
    columns = {"id", "name", "extra", "description", "enabled", "domain_id", "parent_id", "is_domain"}
    assert columns <= set(found["columns"])
    assert found["primary_key"] == ["id"]
    assert found["foreign_keys"] == ["domain_id", "parent_id"]


@decides("bootstrap-twice")
def test_bootstrap_can_be_repeated(keystones: Keystones, saw: Saw) -> None:
    keystone = keystones.ready()
    again = keystone.bootstrap()
    saw(f"status {again.status}")
    assert again.status == 0, again.errors[-1000:]


@decides("api")
@pytest.mark.parametrize("release", RELEASES)
def test_one_client(keystones: Keystones, release: str, saw: Saw) -> None:
    _right(keystones.drive(release), saw)


@decides("duplicate-is-conflict")
def test_a_duplicate_is_a_conflict(keystones: Keystones, saw: Saw) -> None:
    drive = keystones.drive(NEWEST)
    duplicates = {name: dict(codes) for name, codes in drive.codes.items() if name.endswith("(duplicate)")}
    saw(json.dumps(duplicates))
    assert duplicates
    assert all(set(codes) == {"409"} for codes in duplicates.values()), duplicates


@decides("retries")
def test_eight_clients_at_serializable(keystones: Keystones, saw: Saw) -> None:
    drive = _right(keystones.ready().drive(threads=8, seed=2, timeout_s=1800), saw)
    assert drive.total["replays"] > 0, "no transaction collided"
    assert drive.total["gave_up"] == 0


@decides("read-committed")
def test_eight_clients_at_read_committed(
    keystones: Keystones, single: Node, only_from: Callable[[int, int], None], saw: Saw
) -> None:
    only_from(24, 1)
    keystone = keystones.ready()
    weaker = replace(
        keystone, directory=keystone.directory.with_name("weaker"), parameters={"crdb_isolation": "READ_COMMITTED"}
    )
    _copy_keys(keystone, weaker)
    drive = _right(weaker.drive(threads=8, seed=3, timeout_s=1800), saw)
    assert drive.total["gave_up"] == 0


def _copy_keys(source: Keystone, target: Keystone) -> None:
    for name in ("fernet-keys", "credential-keys"):
        for key in (source.directory / name).iterdir():
            (target.directory / name / key.name).write_bytes(key.read_bytes())
