"""Room for many systemds: the kernel's limit is raised when it is too low, and it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from enos_crdb.providers.nspawn import inotify


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "max_user_instances"
    monkeypatch.setattr(inotify, "INSTANCES", file)
    return file


def test_a_low_limit_is_raised_once_and_told(limit: Path) -> None:
    limit.write_text("128\n")
    told: list[str] = []
    for _ in range(2):
        inotify.make_room(told.append)
    assert limit.read_text() == "4096\n"
    assert told == ["fs.inotify.max_user_instances raised from 128 to 4096: every host's systemd needs some eight"]


def test_a_higher_limit_is_left_alone(limit: Path) -> None:
    limit.write_text("65536\n")
    inotify.make_room(pytest.fail)
    assert limit.read_text() == "65536\n"


def test_a_kernel_without_inotify_needs_no_room(limit: Path) -> None:
    inotify.make_room(pytest.fail)
    assert not limit.exists()


def test_a_limit_that_cannot_be_raised_is_a_warning_with_what_may_happen(
    limit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit.write_text("128\n")

    def refuse(self: Path, text: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    told: list[str] = []
    inotify.make_room(told.append)
    assert told == [
        "warning: fs.inotify.max_user_instances is 128 and cannot be raised (Read-only file system): more than "
        "some ten local hosts may not boot on this machine"
    ]
