"""The lock files themselves, as data; and how they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from enos_crdb import locks
from enos_crdb.config.openstack import Release
from enos_crdb.testing import RecordingRunner
from tests.unit.lock_pins import DIRECTORY, pins


def test_every_release_has_a_lock_file_and_an_oldest_python() -> None:
    for release in get_args(Release):
        assert locks.keystone_lock(release) in locks.OLDEST_PYTHON


@pytest.mark.parametrize("name", locks.OLDEST_PYTHON)
class TestLockFile:
    def test_pins_exactly(self, name: str) -> None:
        for requirements in pins(name).values():
            for requirement in requirements:
                assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement

    def test_hashes_everything(self, name: str) -> None:
        blocks = re.split(r"\n(?=[a-z])", locks.lock_file(DIRECTORY, name).read_text())[1:]
        assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []

    def test_names_no_index_and_no_directory(self, name: str) -> None:
        assert not re.search(r"://|--(index|extra|find)", locks.lock_file(DIRECTORY, name).read_text())

    @pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
    def test_has_at_most_one_version_for_a_python(self, name: str, python: str) -> None:
        environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
        for requirements in pins(name).values():
            fitting = [r for r in requirements if not r.marker or r.marker.evaluate(environment)]
            assert len(fitting) <= 1, fitting


@pytest.mark.parametrize(("release", "major"), [("2025.2", 28), ("2026.1", 29), ("2026.2", 30)])
def test_keystone_is_of_its_release(release: str, major: int) -> None:
    (keystone,) = pins(locks.keystone_lock(release))["keystone"]
    (specifier,) = keystone.specifier
    assert Version(specifier.version).major == major


@pytest.mark.parametrize("release", get_args(Release))
def test_versions_are_those_of_the_gate(release: str) -> None:
    locked = pins(locks.keystone_lock(release))
    text = (DIRECTORY / f"{locks.keystone_lock(release)}.constraints").read_text()
    constraints = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    wrong = [
        str(pin)
        for constraint in constraints
        for pin in locked[constraint.name]
        for specifier in pin.specifier
        if not constraint.specifier.contains(specifier.version)
    ]
    assert wrong == []


def test_keystone_can_reach_every_backend_and_its_cache() -> None:
    for release in get_args(Release):
        assert {"pymysql", "psycopg2-binary", "pymemcache", "python-memcached", "pyuwsgi"} <= pins(
            locks.keystone_lock(release)
        ).keys()


def test_keystone_crdb_has_what_it_needs_and_every_release_the_same_sqlalchemy() -> None:
    versions = set()
    for release in get_args(Release):
        locked = pins(locks.keystone_lock(release))
        assert {"prometheus-client", "sqlalchemy-cockroachdb"} <= locked.keys()
        versions |= {str(pin.specifier) for pin in locked["sqlalchemy"]}
    (only,) = versions
    assert Version(only.removeprefix("==")) >= Version("2.0.47"), "sqlalchemy-cockroachdb 2.0.4 asks for it"


def test_rally_is_pinned_because_newer_ones_measure_something_else() -> None:
    rally = pins("rally")
    assert [str(pin.specifier) for pin in rally["rally-openstack"]] == ["==4.1.0"]
    assert "python-openstackclient" in rally


@pytest.mark.parametrize(
    ("version", "oldest", "verdict"),
    [("3.9", "3.10", True), ("3.10", "3.10", False), ("3.11", "3.10", False)],
)
def test_too_old_compares_numbers_not_letters(version: str, oldest: str, verdict: bool) -> None:
    assert locks.too_old(version, oldest) is verdict


@pytest.mark.parametrize("upgrade", [True, False])
def test_write_resolves_each_for_its_oldest_python_from_wheels_only(tmp_path: Path, upgrade: bool) -> None:
    runner = RecordingRunner()
    locks.write(tmp_path, uv="uv", runner=runner, upgrade=upgrade, notify=lambda text: None)
    assert [command[-1] for command in runner.commands] == [f"{name}.in" for name in locks.OLDEST_PYTHON]
    for command, oldest in zip(runner.commands, locks.OLDEST_PYTHON.values(), strict=True):
        assert {f"--python-version={oldest}", "--only-binary=:all:", "--generate-hashes", "--universal"} <= {*command}
        assert ("--upgrade" in command) is upgrade
