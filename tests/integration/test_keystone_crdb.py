"""keystone_crdb's own tests, with the Python and the Keystone of every release; and a real database under it."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from enos_crdb.command import SubprocessRunner
from tests.doubles.cockroachdb_wire import Double
from tests.keystone import RELEASES, Keystone, PostgreSQL, environment, missing_postgresql

pytestmark = pytest.mark.keystone

DEPLOYED = "2026.1"
"""What the shipped files deploy: its wheels are there already."""
TESTS = Path(__file__).resolve().parents[2] / "keystone_crdb" / "tests"


@pytest.fixture(scope="module")
def pytest_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with pytest and nothing else of this environment, for another Python of the same version."""
    directory = tmp_path_factory.mktemp("pytest")
    for name in ("pytest", "_pytest", "py", "pluggy", "iniconfig", "pygments", "packaging", "exceptiongroup", "tomli"):
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:
            source = Path(found.origin)
            source = source.parent if source.name == "__init__.py" else source
            (directory / source.name).symlink_to(source)
    return directory


@pytest.mark.parametrize(
    "release", [pytest.param(name, marks=() if name == DEPLOYED else pytest.mark.deep) for name in RELEASES]
)
def test_the_packages_own_tests_pass(release: str, pytest_alone: Path) -> None:
    command = [str(environment(release)), "-W", "ignore", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    added = {"PYTHONPATH": str(pytest_alone), "PYTHONDONTWRITEBYTECODE": "1"}
    done = SubprocessRunner().run(command, cwd=TESTS, env=added, timeout_s=600, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) > 150
    assert "skipped" not in done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    if reason := missing_postgresql():
        pytest.skip(reason)
    # Not in pytest's own directory, which the server's account may not enter.
    with PostgreSQL(Path("/var/tmp") / tmp_path_factory.mktemp("postgresql").name) as running:
        yield running


@pytest.mark.deep
def test_migrations_one_by_one_make_the_schema_that_db_sync_makes(server: PostgreSQL, tmp_path: Path) -> None:
    python = environment(RELEASES[-1])
    for name in ("together", "alone"):
        keystone = Keystone(directory=tmp_path / name, python=python, url=server.create(name))
        if name == "together":
            keystone.db_sync().check()
        else:
            keystone.package("migrations", f"--config-file={keystone.configuration}").check()
    assert server.schema("alone") == server.schema("together")


@pytest.mark.deep
def test_the_migration_that_cockroachdb_refuses_is_named_and_passes_with_the_plugin(
    server: PostgreSQL, tmp_path: Path
) -> None:
    python = environment(RELEASES[-1])
    reports = {}
    for drivers in ("off", "plugin"):
        server.create(drivers)
        with Double(backend=server.address, version="25.4.11") as double:
            host, port = double.address
            url = f"cockroachdb+psycopg2://postgres@{host}:{port}/{drivers}?sslmode=disable"
            keystone = Keystone(directory=tmp_path / drivers, python=python, url=url, drivers=drivers)
            done = keystone.package("migrations", f"--config-file={keystone.configuration}", "--json")
            reports[drivers] = (done.status, json.loads(done.output))
    status, report = reports["off"]
    (failed,) = (step for step in report["revisions"] if step["outcome"] == "failed")
    assert (status, failed["revision"]) == (1, "99de3849d860")
    assert failed["statement"].startswith("ALTER TABLE access_rule DROP CONSTRAINT")
    assert "DROP INDEX CASCADE" in failed["message"]
    assert report["server"].startswith("CockroachDB")
    status, report = reports["plugin"]
    assert (status, report["passed"], report["dialect"]) == (0, True, "cockroachdb")
