"""The wheel of keystone_crdb is made of the sources that came with enos_crdb."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from enos_crdb import keystone_wheel, shipped, software
from enos_crdb.command import SubprocessRunner
from enos_crdb.errors import PrerequisiteError
from enos_crdb.testing import RecordingRunner


def test_a_wheel_holds_the_package_and_its_entry_points(tmp_path: Path) -> None:
    wheel = keystone_wheel.ensure(tmp_path, SubprocessRunner())
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "[sqlalchemy.plugins]" in archive.read(entry_points).decode()
    assert "keystone_crdb/__init__.py" in names
    assert wheel.parent.name == software.keystone_crdb_digest()


def test_it_is_built_once(tmp_path: Path) -> None:
    keystone_wheel.ensure(tmp_path, SubprocessRunner())
    idle = RecordingRunner()
    keystone_wheel.ensure(tmp_path, idle)
    assert idle.commands == []
    assert [path.name for path in (tmp_path / "keystone_crdb").iterdir()] == [software.keystone_crdb_digest()]


def test_damaged_sources_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "sources"
    shutil.copytree(shipped.directory("keystone_crdb"), copy)
    before = software.keystone_crdb_digest()
    (copy / "pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(shipped, "directory", lambda name: copy)
    assert software.keystone_crdb_digest() != before
    with pytest.raises(PrerequisiteError, match="install it again"):
        keystone_wheel.ensure(tmp_path, SubprocessRunner())
