"""A real Keystone on the wire double of CockroachDB, and on PostgreSQL where that has what is tested.

One PostgreSQL server; the databases of most tests are copies of one that was filled once.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.cockroachdb_wire import Double, Faults, Statement
from tests.doubles.cockroachdb_wire.faults import Injector
from tests.integration.test_wire_protocol import Client
from tests.keystone import Drive, Ended, Keystone, PostgreSQL, environment, missing_postgresql
from tests.keystone.service import ADMIN_PASSWORD, API_SCRIPT, REGION

pytestmark = [
    pytest.mark.keystone,
    pytest.mark.skipif(missing_postgresql() is not None, reason=missing_postgresql() or ""),
]

RELEASE = "2026.2"
VERSIONS = ("23.2.30", "24.3.33", "25.4.11", "26.2.1")
CALLS = Path(__file__).with_name("wire_double_calls.py")

THREADS = 8
REQUESTS = 1000

RETRIES = Faults(
    seed=3,
    retry_at_commit=0.15,
    retry_at_write=0.08,
    retry_at_read=0.005,
    drop_in_transaction=0.001,
    drop_at_ping=0.001,
)
"""Of the matrix. At reads rarely: a request makes a hundred of them."""


@dataclass
class Place:
    """Where Keystones are made: a server, and directories."""

    server: PostgreSQL
    directory: Path
    number: int = 0

    def keystone(self, url: str, *, release: str = RELEASE, **options: Any) -> Keystone:
        self.number += 1
        bare = options.get("drivers") == "off"
        directory = self.directory / f"keystone-{self.number}"
        schema_parameters = {} if bare else {"crdb_isolation": "AUTOCOMMIT"}
        return Keystone(
            directory=directory,
            python=environment(release, bare=bare),
            url=url,
            schema_parameters=schema_parameters,
            **options,
        )

    @contextmanager
    def double(self, database: str, version: str = "25.4.11", **options: Any) -> Iterator[tuple[Double, str]]:
        """A double, and the URL of `database` through it."""
        with Double(backend=self.server.address, version=version, **options) as running:
            yield running, f"cockroachdb+psycopg2://postgres@127.0.0.1:{running.address[1]}/{database}"

    def copy(self, database: str) -> str:
        """A new database with what Keystone's bootstrap leaves; its name."""
        self.server.create(database, template="filled")
        return database


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="enos_crdb-wire-", dir="/var/tmp"))
    directory.chmod(0o755)
    with PostgreSQL(directory / "pg") as server:
        yield Place(server=server, directory=directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def filled(place: Place) -> Place:
    """With a database ``filled``: db_sync and bootstrap on PostgreSQL itself."""
    keystone = place.keystone(place.server.create("filled"))
    keystone.db_sync().check()
    keystone.bootstrap().check()
    return place


# Every version


@dataclass(frozen=True, kw_only=True)
class Run:
    """Keystone made and driven on one version."""

    bootstraps: tuple[Ended, Ended]
    schema: str
    drive: Drive
    statistics: Mapping[str, Mapping[str, int]]
    rows: Mapping[str, int]


def make_and_drive(place: Place, version: str, *, release: str = RELEASE, threads: int = THREADS) -> Run:
    database = f"k_{release}_{version}".replace(".", "_")
    place.server.create(database)
    with place.double(database, version, faults=RETRIES) as (double, url):
        keystone = place.keystone(url, release=release)
        keystone.db_sync().check()
        schema = place.server.schema(database)
        bootstraps = (keystone.bootstrap().check(), keystone.bootstrap().check())
        before = rows(place.server, database)
        double.reset()
        drive = keystone.drive(rounds=1, threads=threads)
        statistics = double.statistics
    after = rows(place.server, database)
    left = {table: after[table] - before[table] for table in after if after[table] != before[table]}
    return Run(bootstraps=bootstraps, schema=schema, drive=drive, statistics=statistics, rows=left)


def rows(server: PostgreSQL, database: str) -> dict[str, int]:
    """How many each table has."""
    tables = server.sql("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public'", database=database)
    union = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM public.\"{table}\"" for (table,) in tables)
    return {table: int(count) for table, count in server.sql(union, database=database)}


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, place: Place) -> Iterator[Callable[[str], Run]]:
    """The runs on all selected versions, two at a time: the threads of one Keystone share one core."""
    environment(RELEASE)
    selected = set(filter(None, map(version_of, request.session.items)))
    with ThreadPoolExecutor(2) as pool:
        pending: dict[str, Future[Run]] = {
            version: pool.submit(make_and_drive, place, version) for version in VERSIONS if version in selected
        }
        yield lambda version: pending[version].result()


def version_of(item: pytest.Item) -> str | None:
    """The version that a selected test needs the run of, if it needs one."""
    if not isinstance(item, pytest.Function) or "runs" not in item.fixturenames:
        return None
    return str(item.callspec.params["version"])


@pytest.mark.parametrize("version", VERSIONS)
def test_keystone_answers_rightly_while_the_database_asks_for_replays(version: str, runs: Callable[[str], Run]) -> None:
    run = runs(version)
    run.drive.check()
    assert run.drive.requests >= REQUESTS
    total, injected = run.drive.total, run.statistics["injected"]
    assert set(injected) >= {"retry_at_commit", "retry_at_write", "retry_at_read"}
    genuine = run.statistics["messages"].get("genuine_retries", 0)
    retries = sum(count for fault, count in injected.items() if fault.startswith("retry")) + genuine
    # Bootstrap has its share in none of them. What Keystone's own code retries is not counted as a replay.
    assert 0 < total["replays"] <= retries
    assert total["gave_up"] == 0
    assert total["reconnects"] <= injected.get("drop_in_transaction", 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_replays_leave_no_row_behind(version: str, runs: Callable[[str], Run]) -> None:
    """The script deletes what it makes, but for what it shares among threads and what Keystone keeps."""
    assert set(runs(version).rows) <= {
        "project",  # the shared one
        "user", "local_user", "password", "nonlocal_user",  # the shared one
        "role",  # those of the races
        "revocation_event", "id_mapping",
    }  # fmt: skip
    assert runs(version).rows["project"] == runs(version).rows["user"] == 1


POSTGRESQL_ONLY = re.compile(r"CREATE FUNCTION public\.\w+\(\) RETURNS trigger\n.*?\$\$;\n", re.DOTALL)
"""Keystone's migrations make four functions for triggers that no longer exist, if the dialect is called postgresql."""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schema_is_that_of_postgresql(version: str, runs: Callable[[str], Run], filled: Place) -> None:
    theirs, functions = POSTGRESQL_ONLY.subn("", filled.server.schema("filled"))
    assert functions == 4
    assert paragraphs(runs(version).schema) == paragraphs(theirs)


def paragraphs(schema: str) -> list[str]:
    return [text for text in re.split(r"\n{2,}", schema.strip()) if text]


@pytest.mark.parametrize(("release", "version"), [("2025.2", "24.3.33"), ("2026.1", "26.2.1")])
def test_the_other_releases_run_too(release: str, version: str, place: Place) -> None:
    run = make_and_drive(place, version, release=release, threads=2)
    run.drive.check()
    assert run.drive.total["replays"] > 0


# Without keystone_crdb


def test_without_the_package_the_migrations_fail_before_26_2(place: Place) -> None:
    place.server.create("bare_25")
    with place.double("bare_25", "25.4.11") as (double, url):
        ended = place.keystone(url, drivers="off").db_sync()
        assert ended.status != 0
        assert 'cannot drop UNIQUE constraint "access_rule_external_id_key"' in ended.errors
        assert double.statistics["refused"] == {"drop-unique-constraint": 1}


def test_without_the_package_duplicates_and_replays_are_errors(place: Place) -> None:
    place.server.create("bare_26")
    with place.double("bare_26", "26.2.1") as (double, url):
        keystone = place.keystone(url, drivers="off")
        keystone.db_sync().check()
        keystone.bootstrap().check()
        again = keystone.bootstrap()
        assert again.status != 0
        assert "UnexpectedError" in again.errors

        drive = keystone.drive(rounds=1, threads=1, seed=1)
        assert drive.codes["project.create(duplicate)"] == {"500": 1}

        double.injector = Injector(Faults(retry_at_read=1))
        drive = keystone.drive(rounds=1, threads=1, seed=2)
        assert drive.unexpected
        assert double.statistics["injected"]["retry_at_read"] > 0
        assert "restart transaction" in drive.unexpected[0]["answer"] + drive.errors


def test_with_the_plugin_alone_conflicts_are_errors(filled: Place) -> None:
    with filled.double(filled.copy("plugin"), faults=RETRIES) as (_, url):
        drive = filled.keystone(url, drivers="plugin").drive(rounds=1, threads=4)
        assert drive.unexpected
        assert drive.total["replays"] == 0


# Under READ COMMITTED


def test_read_committed_meets_no_conflicts(filled: Place) -> None:
    faults = Faults(seed=3, retry_at_commit=1, retry_at_write=1, retry_at_read=1)
    with filled.double(filled.copy("weak"), faults=faults) as (double, url):
        keystone = filled.keystone(url, parameters={"crdb_isolation": "READ_COMMITTED"})
        drive = keystone.drive(rounds=1, threads=1).check()
        assert drive.total["replays"] == 0
        assert double.statistics["injected"] == {}
        assert double.statistics["spared"]["retry_at_commit"] > 0


# Ambiguous results


class Scripted(Injector):
    """Gives the faults in the order of a list, each to the first COMMIT of a transaction that made a role."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(Faults())
        self.coming = faults

    @property
    def active(self) -> bool:
        return True

    def draw(self, kinds: tuple[str, ...], shape: str) -> str | None:
        if self.coming and self.coming[0] in kinds and shape.startswith('INSERT INTO "role"'):
            return self.coming.pop(0)
        return None


def marked(log: Path) -> dict[str, list[Statement]]:
    """The statements after each mark, without those of other purposes."""
    found: dict[str, list[Statement]] = {}
    current = ""
    for line in log.read_text().splitlines():
        sql = json.loads(line).get("sql", "")
        mark = re.fullmatch(r"SELECT 'mark (\w+)'", sql)
        if mark:
            current = mark[1]
        elif sql and "event" not in json.loads(line):
            found.setdefault(current, []).append(Statement(sql))
    return found


def test_a_commit_whose_result_is_ambiguous_is_not_repeated(filled: Place) -> None:
    faults = {"ambiguous_committed": 1, "ambiguous_lost": 0, "drop_committed": 1, "drop_lost": 0}
    log = filled.directory / "ambiguous.log"
    with filled.double(filled.copy("ambiguous"), log=log, log_statements=True) as (double, url):
        double.injector = Scripted(list(faults))
        keystone = filled.keystone(url)
        plain = url.replace("cockroachdb+psycopg2", "postgresql")
        ended = keystone.run(str(CALLS), "ambiguous", plain, environment={"FAULTS": ",".join(faults)}).check()
    outcomes = json.loads(ended.output.splitlines()[-1])
    assert {name: count for name, (_, count) in outcomes.items()} == faults
    assert "made" not in {outcome for outcome, _ in outcomes.values()}
    for name in faults:
        statements = marked(log)[name]
        assert [one.kind for one in statements].count("commits") == 1
        assert [one.verb for one in statements].count("insert") == 1
    assert double.statistics["injected"] == dict.fromkeys(sorted(faults), 1)


# Replays that restore nothing


def test_replays_with_spoilt_arguments_give_wrong_answers(filled: Place) -> None:
    """The API script sees it; with restored arguments nothing is wrong, at the same faults."""
    faults = Faults(seed=5, retry_at_read=0.1)
    answers = {}
    for restored in (False, True):
        with filled.double(filled.copy(f"restored_{restored}"), faults=faults) as (double, url):
            keystone = filled.keystone(url)
            script = [str(API_SCRIPT), str(keystone.configuration), "--rounds=1", "--threads=1", f"--region={REGION}"]
            command = script if restored else [str(CALLS), "unrestored", *script]
            ended = keystone.run(*command, timeout_s=600, environment={"ADMIN_PASSWORD": ADMIN_PASSWORD}).check()
            assert double.statistics["injected"]["retry_at_read"] > 20
        answers[restored] = json.loads(ended.output.splitlines()[-1])
    assert answers[False]["wrong"] or answers[False]["unexpected"]
    assert not answers[True]["wrong"] + answers[True]["unexpected"]


# Conflicts that nobody injected


@pytest.fixture(scope="module")
def serializable(filled: Place) -> Callable[[str], str]:
    """URLs of databases of PostgreSQL whose transactions are serializable."""

    def make(database: str) -> str:
        filled.copy(database)
        filled.server.sql(f"ALTER DATABASE {database} SET default_transaction_isolation = serializable")
        return filled.server.url(database)

    return make


def test_genuine_conflicts_are_replayed(filled: Place, serializable: Callable[[str], str]) -> None:
    drive = filled.keystone(serializable("genuine")).drive(rounds=1, threads=THREADS).check()
    assert drive.requests >= REQUESTS
    assert drive.total["replays"] > 0
    assert drive.total["gave_up"] == 0


def test_genuine_conflicts_are_errors_of_keystones_own_drivers(
    filled: Place, serializable: Callable[[str], str]
) -> None:
    drive = filled.keystone(serializable("genuine_stock"), drivers="off").drive(rounds=1, threads=THREADS)
    assert drive.unexpected
    assert "serializ" in drive.errors or any("serializ" in str(one) for one in drive.unexpected)


# Connections that end


@contextmanager
def killer(server: PostgreSQL, database: str, every_s: float = 0.15) -> Iterator[None]:
    """Ends a random connection to `database` again and again."""
    client = Client(server.address, database="postgres")
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(every_s):
            client(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{database}' ORDER BY random() LIMIT 1"
            )

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        client.wire.close()


def test_connections_that_end_cost_only_commits_under_way(filled: Place) -> None:
    """The double notes what each client had sent last when its connection ended: COMMIT, or anything else."""
    database = filled.copy("killed")
    with filled.double(database) as (double, url):
        keystone = filled.keystone(url)
        with killer(filled.server, database):
            drive = keystone.drive(rounds=1, threads=4)
        lost = double.statistics["lost"]
    assert drive.total["reconnects"] > 0
    assert lost["elsewhere"] > lost.get("in_commit", 0)
    assert drive.total["gave_up"] == lost.get("in_commit", 0)
    assert len(drive.unexpected) + len(drive.wrong) <= lost.get("in_commit", 0)


# Counters


def test_round_trips_are_counted_as_the_wire_has_them(filled: Place) -> None:
    log = filled.directory / "counted.log"
    with filled.double(filled.copy("counted"), log=log, log_statements=True) as (_, url):
        keystone = filled.keystone(url)
        plain = url.replace("cockroachdb+psycopg2", "postgresql")
        counted = json.loads(keystone.run(str(CALLS), "counted", plain).check().output.splitlines()[-1])
    statements = marked(log)["begin"]
    kinds = ("begins", "commits", "pings", "rollbacks", "statements")
    assert {kind: counted[kind] for kind in kinds} == {
        kind: sum(one.kind == kind for one in statements) for kind in kinds
    }
    assert counted["round_trips"] == len(statements)
    assert counted["commits"] > 3
