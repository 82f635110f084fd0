"""Servers, and the verdicts that the tests of this directory add up to."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from enos_crdb.command import SubprocessRunner
from tests.cockroach import verdicts
from tests.cockroach.server import Cluster, Node, describe, single_node, three_nodes
from tests.cockroach.verdicts import Executable, Finding, Outcome
from tests.keystone import RELEASES, Drive, Ended, Keystone, environment

VARIABLE = "ENOS_CRDB_COCKROACH"
REPORT = "ENOS_CRDB_COCKROACH_REPORT"
MISSING = f"{VARIABLE} names no executable: give it the path of a real `cockroach`"
PROBE = Path(__file__).with_name("probe.py")

OUTCOMES = pytest.StashKey[list[Outcome]]()
EXECUTABLE = pytest.StashKey[Executable]()
SEEN = pytest.StashKey[list[str]]()

ELSEWHERE = "not about this release: "

Steps = Callable[..., list[dict[str, Any]]]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTCOMES] = []
    if path := os.environ.get(VARIABLE):
        config.stash[EXECUTABLE] = describe(path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        for marker in item.iter_markers("decides"):
            item.config.stash[OUTCOMES].append(_outcome(marker.args[0], item, call, report))
    return report


def _outcome(assumption: str, item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport) -> Outcome:
    notes: list[str] = item.stash.get(SEEN, [])
    told = "; ".join(notes)
    error = call.excinfo.value if call.excinfo else None
    if error is None:
        kind = "passed"
    elif report.skipped:
        kind, told = "elsewhere" if str(error).startswith(ELSEWHERE) else "skipped", str(error)
    else:
        kind = "failed" if isinstance(error, AssertionError) and report.when == "call" else "broken"
        first = (str(error).strip().splitlines() or [""])[0][:400]
        first = first if kind == "failed" else f"{type(error).__name__}: {first}"
        told = "; ".join(filter(None, (told, first)))
    test = item.nodeid.rsplit("/", 1)[-1]
    return Outcome(assumption=assumption, test=test, kind=kind, seen=told, seconds=report.duration)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if EXECUTABLE not in config.stash:
        return
    executable = config.stash[EXECUTABLE]
    findings = _findings(config)
    terminalreporter.write_line("")
    terminalreporter.write(verdicts.render(findings, executable))
    report = Path(os.environ.get(REPORT, "cockroach-verdict.json"))
    report.write_text(json.dumps(verdicts.as_json(findings, executable), indent=1) + "\n")
    terminalreporter.write_line(f"verdicts: {report}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if EXECUTABLE in config.stash and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        session.exitstatus = verdicts.exit_status(_findings(config))


def _findings(config: pytest.Config) -> tuple[Finding, ...]:
    outcomes: list[Outcome] = config.stash[OUTCOMES]
    return verdicts.judge(outcomes, config.stash[EXECUTABLE])


@pytest.fixture(scope="session")
def executable(pytestconfig: pytest.Config) -> Executable:
    """The real server that these tests are for."""
    if EXECUTABLE not in pytestconfig.stash:
        pytest.skip(MISSING)
    found = pytestconfig.stash[EXECUTABLE]
    if not Path(found.path).is_file():
        pytest.skip(f"{VARIABLE}: there is no file {found.path}")
    return found


@pytest.fixture(scope="session")
def line(executable: Executable) -> tuple[int, int]:
    """Its line of releases: (25, 4)."""
    match = re.match(r"v(\d+)\.(\d+)", executable.build_tag)
    assert match, f"`cockroach version` tells no release: {executable.build_tag!r}"
    return int(match[1]), int(match[2])


@pytest.fixture(scope="session")
def only_from(line: tuple[int, int]) -> Callable[[int, int], None]:
    """Ends a test whose assumption is about newer releases."""

    def check(major: int, minor: int) -> None:
        if line < (major, minor):
            pytest.skip(f"{ELSEWHERE}it is about releases from v{major}.{minor}, this is v{line[0]}.{line[1]}")

    return check


@pytest.fixture
def saw(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes what the server did, for the verdict."""
    return request.node.stash.setdefault(SEEN, []).append  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory with a short path (unix sockets) that servers may use; kept when ENOS_CRDB_KEEP is set."""
    path = Path(tempfile.mkdtemp(prefix="crdb-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    if not os.environ.get("ENOS_CRDB_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def single(executable: Executable, scratch: Path) -> Iterator[Node]:
    """One insecure node, in memory."""
    with single_node(executable.path, scratch / "single") as node:
        node.client.sql("CREATE USER IF NOT EXISTS keystone")
        yield node


@pytest.fixture(scope="session")
def probing(single: Node) -> Node:
    """The same, with an empty database `probe`."""
    single.client.sql("CREATE DATABASE IF NOT EXISTS probe")
    return single


@pytest.fixture(scope="session")
def cluster(executable: Executable, scratch: Path) -> Iterator[Cluster]:
    """Three nodes with certificates; Keystone's user and database exist."""
    (scratch / "cluster").mkdir()
    with three_nodes(executable.path, scratch / "cluster") as nodes:
        make_database(nodes.first, "keystone")
        yield nodes


def make_database(node: Node, name: str) -> None:
    """As the Ansible role makes it."""
    node.client.sql(
        f"CREATE DATABASE IF NOT EXISTS {name}",
        "CREATE USER IF NOT EXISTS keystone",
        f"ALTER DATABASE {name} OWNER TO keystone",
        f"GRANT ALL ON DATABASE {name} TO keystone",
    )


class Keystones:
    """A Keystone of each release on the single node, its schema made once."""

    def __init__(self, node: Node, directory: Path, line: tuple[int, int]) -> None:
        self.node = node
        self.directory = directory
        self.line = line
        self._made: dict[str, tuple[Keystone, Ended]] = {}
        self._driven: dict[str, Drive] = {}

    def empty(self, name: str, release: str, **options: Any) -> Keystone:
        """A Keystone on a new empty database."""
        make_database(self.node, name)
        return Keystone(
            directory=self.directory / name,
            python=environment(release),
            url=self.node.url(name),
            schema_parameters=schema_parameters(self.line),
            **options,
        )

    def synced(self, release: str) -> tuple[Keystone, Ended]:
        """It, and how db_sync ended."""
        if release not in self._made:
            keystone = self.empty(f"keystone_{release.replace('.', '_')}", release)
            self._made[release] = keystone, keystone.db_sync()
        return self._made[release]

    def ready(self, release: str = RELEASES[-1]) -> Keystone:
        """It, with an administrator. Raises `RuntimeError` when that is not possible."""
        keystone, ended = self.synced(release)
        ended = ended if ended.status else keystone.bootstrap()
        if ended.status:
            raise RuntimeError(f"there is no Keystone to ask: {ended.errors[-800:]}")
        return keystone

    def drive(self, release: str) -> Drive:
        """What one client saw of it."""
        if release not in self._driven:
            self._driven[release] = self.ready(release).drive(seed=1)
        return self._driven[release]


def schema_parameters(line: tuple[int, int]) -> dict[str, str]:
    """What the backend adds to db_sync's connection."""
    locked = {"crdb_set_create_table_with_schema_locked": "off"} if line >= (25, 3) else {}
    return {"crdb_isolation": "AUTOCOMMIT", **locked}


@pytest.fixture(scope="session")
def keystones(single: Node, scratch: Path, line: tuple[int, int]) -> Keystones:
    return Keystones(single, scratch / "keystones", line)


def _probe(*arguments: str, input: str | None = None) -> Any:
    command = [str(environment(RELEASES[-1])), "-W", "ignore", str(PROBE), *arguments]
    return json.loads(SubprocessRunner().run(command, input=input, timeout_s=300).stdout)


@pytest.fixture(scope="session")
def probe() -> Callable[..., Any]:
    """Ask through SQLAlchemy: ``probe("engine", url, statement, ...)``, ``probe("reflect", url, table)``."""
    return _probe


@pytest.fixture(scope="session")
def ask(probing: Node) -> Steps:
    """Ask through psycopg2: ``ask("a", "BEGIN", "b", "SELECT 1", ...)``, sessions and statements in turn."""

    def steps(*words: str, database: str = "probe", urls: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        own = f"postgresql://root@127.0.0.1:{probing.port}/{database}?sslmode=disable"
        pairs = [(words[n], words[n + 1]) for n in range(0, len(words), 2)]
        listed = [{"session": name, "url": (urls or {}).get(name, own), "sql": text} for name, text in pairs]
        return list(_probe("sql", input=json.dumps(listed)))

    return steps
