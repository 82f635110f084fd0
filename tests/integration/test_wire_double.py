"""A real Keystone on the wire double of CockroachDB, and on PostgreSQL where that has what is tested.

One PostgreSQL server; the databases of most tests are copies of one that was filled once. What takes long is a job,
and tests look at what came of them. The threads of one Keystone share one core, so two jobs are under way at any time,
or one where other tests run beside these.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.cockroachdb_wire import Client, Double, Faults, Statement
from tests.doubles.cockroachdb_wire.faults import Injector
from tests.keystone import Drive, Ended, Keystone, PostgreSQL, environment, missing_postgresql
from tests.keystone.service import ADMIN_PASSWORD, API_SCRIPT, REGION

pytestmark = [
    pytest.mark.keystone,
    pytest.mark.xdist_group("wire double"),
    pytest.mark.skipif(missing_postgresql() is not None, reason=missing_postgresql() or ""),
]

RELEASE = "2026.1"
VERSIONS = ("23.2.30", "24.3.33", "25.4.11", "26.2.1")
OTHER_RELEASES = {"2025.2": "24.3.33", "2026.2": "26.2.1"}
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
"""Of the matrix. At reads rarely: a request makes dozens of them."""


@dataclass
class Place:
    """Where Keystones are made: a server with a filled database, and directories."""

    server: PostgreSQL
    directory: Path
    schema: str = ""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def keystone(self, url: str, *, release: str = RELEASE, **options: Any) -> Keystone:
        bare = options.get("drivers") == "off"
        return Keystone(
            directory=self.directory / f"keystone-{next(self.numbers)}",
            python=environment(release, bare=bare),
            url=url,
            schema_parameters={} if bare else {"crdb_isolation": "AUTOCOMMIT"},
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

    def rows(self, database: str) -> dict[str, int]:
        """How many each table has."""
        listed = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public'"
        tables = [row[0] for row in self.server.sql(listed, database=database)]
        union = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM public.\"{table}\"" for table in tables)
        return {table: int(count) for table, count in self.server.sql(union, database=database)}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="enos_crdb-wire-", dir="/var/tmp"))
    directory.chmod(0o755)
    with PostgreSQL(directory / "pg") as server:
        made = Place(server=server, directory=directory)
        keystone = made.keystone(server.create("filled"))
        keystone.db_sync().check()
        keystone.bootstrap().check()
        made.schema = server.schema("filled")
        yield made
    shutil.rmtree(directory)


Job = Callable[[Place], Any]


@pytest.fixture(scope="module")
def jobs(request: pytest.FixtureRequest, place: Place) -> Iterator[Mapping[str, Future[Any]]]:
    """Those that the selected tests look at, under way."""
    wanted = dict.fromkeys(filter(None, map(job_of, request.session.items)))
    pool = ThreadPoolExecutor(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
    yield {name: pool.submit(JOBS[name], place) for name in wanted}
    pool.shutdown(cancel_futures=True)


def job_of(item: pytest.Item) -> str | None:
    looks = isinstance(item, pytest.Function) and item.path == Path(__file__) and hasattr(item, "callspec")
    return str(item.callspec.params["job"]) if isinstance(item, pytest.Function) and looks else None


@pytest.fixture
def job(request: pytest.FixtureRequest, jobs: Mapping[str, Future[Any]]) -> Any:
    """What came of the job that the test names."""
    return jobs[request.param].result()


def looks_at(*names: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("job", names, indirect=True)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A Keystone that was driven, and what the double in front of its database saw meanwhile."""

    drive: Drive
    statistics: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    schema: str = ""
    left: Mapping[str, int] = field(default_factory=dict)
    again: Ended | None = None


# Every version


def make_and_drive(place: Place, version: str, *, release: str = RELEASE, threads: int = THREADS) -> Run:
    """From an empty database on, with faults all the time."""
    database = f"made_{release}_{version}".replace(".", "_")
    place.server.create(database)
    with place.double(database, version, faults=RETRIES) as (double, url):
        keystone = place.keystone(url, release=release)
        keystone.db_sync().check()
        schema = place.server.schema(database)
        keystone.bootstrap().check()
        again = keystone.bootstrap().check()
        before = place.rows(database)
        double.reset()
        drive = keystone.drive(rounds=1, threads=threads)
        statistics = double.statistics
    after = place.rows(database)
    left = {table: after[table] - before[table] for table in after if after[table] != before[table]}
    return Run(drive=drive, statistics=statistics, schema=schema, left=left, again=again)


@pytest.mark.deep
@looks_at(*VERSIONS)
def test_keystone_answers_rightly_while_the_database_asks_for_replays(job: Run) -> None:
    job.drive.check()
    assert job.drive.requests >= REQUESTS
    total, injected = job.drive.total, job.statistics["injected"]
    assert set(injected) >= {"retry_at_commit", "retry_at_write", "retry_at_read"}
    genuine = job.statistics["messages"].get("genuine_retries", 0)
    retries = sum(count for fault, count in injected.items() if fault.startswith("retry")) + genuine
    assert 0 < total["replays"] <= retries
    assert 0 <= total["reconnects"] <= injected.get("drop_in_transaction", 0)
    assert total["gave_up"] == 0


LEFT = {"project": 1, "user": 1, "local_user": 1, "password": 1, "role": 1}
"""Rows that a drive leaves: a project and a user that threads share, a role they race for, and trusts, which Keystone
only marks as deleted."""


@pytest.mark.deep
@looks_at(*VERSIONS)
def test_replays_leave_no_row_behind(job: Run) -> None:
    trusts = {"trust": THREADS, "trust_role": THREADS}
    assert {table: count for table, count in job.left.items() if table != "revocation_event"} == LEFT | trusts


POSTGRESQL_ONLY = re.compile(r"CREATE FUNCTION public\.\w+\(\) RETURNS trigger\n.*?\$\$;\n", re.DOTALL)
"""Keystone's migrations make four functions for triggers that no longer exist, if the dialect is called postgresql."""


@pytest.mark.deep
@looks_at(*VERSIONS)
def test_the_schema_is_that_of_postgresql(job: Run, place: Place) -> None:
    theirs, functions = POSTGRESQL_ONLY.subn("", place.schema)
    assert functions == 4
    assert paragraphs(job.schema) == paragraphs(theirs)


def paragraphs(schema: str) -> list[str]:
    return [text for text in re.split(r"\n{2,}", schema.strip()) if text]


@pytest.mark.deep
@looks_at(*OTHER_RELEASES)
def test_the_other_releases_run_too(job: Run) -> None:
    job.drive.check()
    assert job.drive.total["replays"] > 0
    assert job.drive.total["gave_up"] == 0


# Without keystone_crdb


def bare(place: Place) -> dict[str, Any]:
    """Keystone as it is released, on a version that takes its migrations: its second bootstrap and two drives."""
    place.server.create("bare_26")
    with place.double("bare_26", "26.2.1") as (double, url):
        keystone = place.keystone(url, drivers="off")
        keystone.db_sync().check()
        keystone.bootstrap().check()
        again = keystone.bootstrap()
        plain = keystone.drive(rounds=1, threads=1, seed=1)
        double.injector = Injector(Faults(retry_at_read=1))
        faulty = keystone.drive(rounds=1, threads=1, seed=2)
        return {"again": again, "plain": plain, "faulty": faulty, "injected": double.statistics["injected"]}


@pytest.mark.deep
def test_without_the_package_the_migrations_fail_before_26_2(place: Place) -> None:
    place.server.create("bare_25")
    with place.double("bare_25", "25.4.11") as (double, url):
        ended = place.keystone(url, drivers="off").db_sync()
        assert ended.status != 0
        assert 'cannot drop UNIQUE constraint "access_rule_external_id_key"' in ended.errors
        assert double.statistics["refused"] == {"drop-unique-constraint": 1}


@pytest.mark.deep
@looks_at("bare")
def test_without_the_package_duplicates_and_conflicts_are_errors(job: dict[str, Any]) -> None:
    assert job["again"].status != 0
    assert "UnexpectedError" in job["again"].errors
    assert job["plain"].codes["project.create(duplicate)"] == {"500": 1}
    assert job["faulty"].unexpected
    assert job["injected"]["retry_at_read"] > 0
    assert "restart transaction" in job["faulty"].unexpected[0]["answer"] + job["faulty"].errors


def plugin_alone(place: Place) -> Run:
    with place.double(place.copy("plugin"), faults=RETRIES) as (_, url):
        return Run(drive=place.keystone(url, drivers="plugin").drive(rounds=1, threads=4))


@pytest.mark.deep
@looks_at("plugin")
def test_with_the_plugin_alone_conflicts_are_errors(job: Run) -> None:
    assert job.drive.unexpected
    assert job.drive.total["replays"] == 0


# Under READ COMMITTED


def read_committed(place: Place) -> Run:
    faults = Faults(seed=3, retry_at_commit=1, retry_at_write=1, retry_at_read=1)
    with place.double(place.copy("weak"), faults=faults) as (double, url):
        keystone = place.keystone(url, parameters={"crdb_isolation": "READ_COMMITTED"})
        return Run(drive=keystone.drive(rounds=1, threads=1), statistics=double.statistics)


@pytest.mark.deep
@looks_at("read committed")
def test_read_committed_meets_no_conflicts(job: Run) -> None:
    assert job.drive.check().total["replays"] == 0
    assert job.statistics["injected"] == {}
    assert job.statistics["spared"]["retry_at_commit"] > 0


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


def test_a_commit_whose_result_is_ambiguous_is_not_repeated(place: Place) -> None:
    faults = {"ambiguous_committed": 1, "ambiguous_lost": 0, "drop_committed": 1, "drop_lost": 0}
    log = place.directory / "ambiguous.log"
    with place.double(place.copy("ambiguous"), log=log, log_statements=True) as (double, url):
        double.injector = Scripted(list(faults))
        keystone = place.keystone(url)
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


def with_arguments(place: Place, *, restored: bool) -> dict[str, Any]:
    """What the API script saw when every tenth read failed."""
    with place.double(place.copy(f"restored_{restored}"), faults=Faults(seed=5, retry_at_read=0.1)) as (double, url):
        keystone = place.keystone(url)
        script = [str(API_SCRIPT), str(keystone.configuration), "--rounds=1", "--threads=1", f"--region={REGION}"]
        command = script if restored else [str(CALLS), "unrestored", *script]
        ended = keystone.run(*command, timeout_s=900, environment={"ADMIN_PASSWORD": ADMIN_PASSWORD}).check()
        return {**json.loads(ended.output.splitlines()[-1]), "injected": double.statistics["injected"]["retry_at_read"]}


@pytest.mark.deep
@looks_at("unrestored")
def test_replays_with_spoilt_arguments_give_wrong_answers(job: dict[str, Any]) -> None:
    assert job["injected"] > 20
    assert job["wrong"] or job["unexpected"]


@pytest.mark.deep
@looks_at("restored")
def test_replays_with_restored_arguments_do_not(job: dict[str, Any]) -> None:
    assert job["injected"] > 20
    assert job["wrong"] + job["unexpected"] == []


# Conflicts that nobody injected


def genuine(place: Place, drivers: str) -> Run:
    """Keystone on PostgreSQL itself, where transactions are serializable unless they say otherwise."""
    database = place.copy(f"genuine_{drivers}")
    place.server.sql(f"ALTER DATABASE {database} SET default_transaction_isolation = serializable")
    keystone = place.keystone(place.server.url(database), drivers=drivers)
    return Run(drive=keystone.drive(rounds=1, threads=THREADS))


@pytest.mark.deep
@looks_at("genuine")
def test_genuine_conflicts_are_replayed(job: Run) -> None:
    assert job.drive.check().requests >= REQUESTS
    assert job.drive.total["replays"] > 0
    assert job.drive.total["gave_up"] == 0


@pytest.mark.deep
@looks_at("genuine, Keystone's own drivers")
def test_genuine_conflicts_are_errors_of_keystones_own_drivers(job: Run) -> None:
    assert job.drive.unexpected
    assert any("could not serialize access" in text for text in (job.drive.errors, str(job.drive.unexpected)))


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


def killed(place: Place) -> Run:
    database = place.copy("killed")
    with place.double(database) as (double, url):
        keystone = place.keystone(url)
        with killer(place.server, database):
            drive = keystone.drive(rounds=1, threads=4)
        return Run(drive=drive, statistics=double.statistics)


@pytest.mark.deep
@looks_at("killed")
def test_connections_that_end_cost_only_commits_under_way(job: Run) -> None:
    """The double notes what each client had sent last when its connection ended: COMMIT, or anything else."""
    in_commit = job.statistics["lost"].get("in_commit", 0)
    assert job.statistics["lost"]["elsewhere"] > in_commit
    assert job.drive.total["reconnects"] > 0
    assert job.drive.total["gave_up"] == in_commit
    assert len(job.drive.unexpected) + len(job.drive.wrong) <= in_commit


# Counters


def test_round_trips_are_counted_as_the_wire_has_them(place: Place) -> None:
    log = place.directory / "counted.log"
    with place.double(place.copy("counted"), log=log, log_statements=True) as (_, url):
        keystone = place.keystone(url)
        plain = url.replace("cockroachdb+psycopg2", "postgresql")
        counted = json.loads(keystone.run(str(CALLS), "counted", plain).check().output.splitlines()[-1])
    statements = marked(log)["begin"]
    kinds = ("begins", "commits", "pings", "rollbacks", "statements")
    assert {kind: counted[kind] for kind in kinds} == {
        kind: sum(one.kind == kind for one in statements) for kind in kinds
    }
    assert counted["round_trips"] == len(statements)
    assert counted["commits"] > 3


def on_version(version: str) -> Job:
    return lambda place: make_and_drive(place, version)


def of_release(release: str) -> Job:
    return lambda place: make_and_drive(place, OTHER_RELEASES[release], release=release, threads=2)


JOBS: Mapping[str, Job] = {
    **{version: on_version(version) for version in VERSIONS},
    **{release: of_release(release) for release in OTHER_RELEASES},
    "bare": bare,
    "plugin": plugin_alone,
    "read committed": read_committed,
    "unrestored": lambda place: with_arguments(place, restored=False),
    "restored": lambda place: with_arguments(place, restored=True),
    "genuine": lambda place: genuine(place, "drivers"),
    "genuine, Keystone's own drivers": lambda place: genuine(place, "off"),
    "killed": killed,
}
