"""Wheelhouses: which files are chosen, and that a directory is complete or absent."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import wheelhouse
from enos_crdb.command import Completed
from enos_crdb.errors import CommandError, DeploymentError
from enos_crdb.testing import RecordingRunner, ended
from enos_crdb.wheelhouse import Target

HERE = Target(python_version="3.11", machine="x86_64")
PROJECTS = ("alpha", "beta", "gamma", "delta", "epsilon")


def content(project: str) -> bytes:
    return f"wheel of {project}".encode()


def digest(project: str) -> str:
    return hashlib.sha256(content(project)).hexdigest()


def filename(project: str) -> str:
    return f"{project}-1.0-py3-none-any.whl"


@dataclass(kw_only=True)
class FakeIndex(RecordingRunner):
    """Stands for uv and pip: answers uv's question from `PROJECTS`, and "downloads" what pip is asked for.

    ``broken``: the project whose download breaks off, or ``index``.
    """

    broken: str = ""
    fetched: list[str] = field(default_factory=list)
    resolved: int = 0

    def answer(self, args: Sequence[str], input: str) -> Completed:
        if "compile" in args:
            self.resolve(args)
        elif "download" in args:
            self.download(args)
        return ended(args)

    def resolve(self, args: Sequence[str]) -> None:
        if self.broken == "index":
            raise CommandError(args, 2, "", "error: dns error")
        self.resolved += 1
        tables = [
            f'[[packages]]\nname = "{p}"\nversion = "1.0"\nwheels = [{{ url = "https://x.invalid/{filename(p)}", '
            f'hashes = {{ sha256 = "{digest(p)}" }} }}]\n'
            for p in PROJECTS
        ]
        Path(option(args, "--output-file")).write_text('lock-version = "1.0"\n' + "\n".join(tables))

    def download(self, args: Sequence[str]) -> None:
        destination = Path(option(args, "--dest"))
        if args[-1].startswith("--platform") or "uv" in args:
            destination.mkdir()
            with zipfile.ZipFile(destination / "uv-1-py3-none-any.whl", "w") as wheel:
                wheel.writestr("uv-1.data/scripts/uv", "#!foreign")
            return
        for line in Path(option(args, "--requirement")).read_text().splitlines():
            project = line.split(" @ ")[0]
            if project == self.broken:
                raise CommandError(args, 1, "", "ERROR: connection reset")
            self.fetched.append(project)
            (destination / filename(project)).write_bytes(content(project))


def option(args: Sequence[str], name: str) -> str:
    return next(argument.split("=", 1)[1] for argument in args if argument.startswith(f"{name}="))


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "rally.txt"
    path.write_text("".join(f"{p}==1.0 \\\n    --hash=sha256:{digest(p)}\n" for p in PROJECTS))
    return path


def ensure(
    lock: Path,
    runner: FakeIndex,
    *,
    python: str = "3.11",
    machine: str = platform.machine(),
    notify: Callable[[str], None] = lambda text: None,
) -> Path:
    return wheelhouse.ensure(
        lock,
        python_version=python,
        machine=machine,
        cache_dir=lock.parent / "cache",
        runner=runner,
        notify=notify,
    )


class TestEnsure:
    def test_holds_wheels_lock_file_and_an_executable_uv(self, lock: Path) -> None:
        directory = ensure(lock, FakeIndex())
        assert sorted(path.name for path in directory.iterdir()) == sorted(
            [*(filename(p) for p in PROJECTS), "requirements.txt", "uv"]
        )
        assert (directory / "requirements.txt").read_text() == lock.read_text()
        assert (directory / "uv").stat().st_mode & stat.S_IXOTH

    def test_is_filled_once(self, lock: Path) -> None:
        index = FakeIndex()
        assert ensure(lock, index) == ensure(lock, index)
        assert index.resolved == 1

    @pytest.mark.parametrize("change", ["lock", "python", "machine"])
    def test_is_another_when_what_it_depends_on_changes(self, lock: Path, change: str) -> None:
        first = wheelhouse.location(lock, python_version="3.11", machine="x86_64", cache_dir=lock.parent)
        if change == "lock":
            lock.write_text(lock.read_text() + "# changed\n")
        python, machine = "3.12" if change == "python" else "3.11", "aarch64" if change == "machine" else "x86_64"
        assert wheelhouse.location(lock, python_version=python, machine=machine, cache_dir=lock.parent) != first

    def test_of_two_concurrent_runs_one_fetches_and_the_other_waits(self, lock: Path) -> None:
        fetching, waiting = threading.Event(), threading.Event()

        class Meeting(FakeIndex):
            def resolve(self, args: Sequence[str]) -> None:
                fetching.set()
                assert waiting.wait(20), "the other run did not wait"
                super().resolve(args)

        def hear(text: str) -> None:
            if text.startswith("Waiting for another run"):
                waiting.set()

        index = Meeting()
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ensure, lock, index)
            assert fetching.wait(20)
            second = pool.submit(ensure, lock, index, notify=hear)
        assert first.result() == second.result()
        assert index.resolved == 1

    def test_a_failed_download_leaves_no_wheelhouse_and_says_why(self, lock: Path) -> None:
        with pytest.raises(DeploymentError, match=r"(?s)could not be downloaded.*proxy.*connection reset"):
            ensure(lock, FakeIndex(broken="delta"))
        assert [path.name for path in (lock.parent / "cache/wheelhouse").iterdir() if not path.suffix] == []

    def test_goes_on_where_it_was_interrupted(self, lock: Path) -> None:
        with pytest.raises(DeploymentError):
            ensure(lock, FakeIndex(broken="delta"))
        again = FakeIndex()
        ensure(lock, again)
        assert "delta" in again.fetched
        assert "alpha" not in again.fetched

    def test_does_not_trust_a_torn_file_of_an_interrupted_attempt(self, lock: Path) -> None:
        partial = wheelhouse.location(
            lock, python_version="3.11", machine=platform.machine(), cache_dir=lock.parent / "cache"
        ).with_suffix(".partial")
        partial.mkdir(parents=True)
        (partial / filename("alpha")).write_bytes(b"wheel of al")
        assert (ensure(lock, FakeIndex()) / filename("alpha")).read_bytes() == content("alpha")

    def test_an_unreachable_index_is_explained(self, lock: Path) -> None:
        with pytest.raises(DeploymentError, match=r"(?s)were not found.*no network.*dns error"):
            ensure(lock, FakeIndex(broken="index"))

    def test_a_python_that_is_too_old_is_refused_before_anything_is_fetched(self, lock: Path) -> None:
        index = FakeIndex()
        with pytest.raises(DeploymentError, match=r"rally needs Python 3\.10 or newer, but the hosts have Python 3\.9"):
            ensure(lock, index, python="3.9")
        assert index.resolved == 0

    def test_an_architecture_without_wheels_is_refused(self, lock: Path) -> None:
        with pytest.raises(DeploymentError, match="no wheels of Keystone's dependencies for ppc64le"):
            ensure(lock, FakeIndex(), machine="ppc64le")

    def test_hosts_of_another_architecture_get_a_uv_of_theirs(self, lock: Path) -> None:
        foreign = "aarch64" if platform.machine() == "x86_64" else "x86_64"
        assert (ensure(lock, FakeIndex(), machine=foreign) / "uv").read_text() == "#!foreign"


def test_archive_unpacks_to_the_same_directory(lock: Path, tmp_path: Path) -> None:
    directory = ensure(lock, FakeIndex())
    with tarfile.open(wheelhouse.archive(directory)) as tar:
        tar.extractall(tmp_path / "host", filter="data")
    unpacked = tmp_path / "host" / directory.name
    assert {p.name for p in unpacked.iterdir()} == {p.name for p in directory.iterdir()}
    assert wheelhouse.archive(directory).stat().st_mtime == wheelhouse.archive(directory).stat().st_mtime


def package(*files: str, sha256: str = "a" * 64) -> Mapping[str, Any]:
    wheels = [{"url": f"https://x.invalid/{file}", "hashes": {"sha256": sha256}} for file in files]
    return {"packages": [{"name": "thing", "wheels": wheels}]}


class TestChoose:
    def test_prefers_the_wheel_for_exactly_this_python(self) -> None:
        offered = package(
            "thing-1-py3-none-any.whl",
            "thing-1-cp39-abi3-manylinux_2_17_x86_64.whl",
            "thing-1-cp311-cp311-manylinux_2_17_x86_64.whl",
        )
        (wheel,) = wheelhouse.choose(offered, frozenset(["a" * 64]), HERE)
        assert wheel.filename == "thing-1-cp311-cp311-manylinux_2_17_x86_64.whl"

    @pytest.mark.parametrize(
        "file",
        [
            pytest.param("thing-1-cp312-cp312-manylinux_2_17_x86_64.whl", id="another Python"),
            pytest.param("thing-1-cp311-cp311-musllinux_1_2_x86_64.whl", id="another C library"),
            pytest.param("thing-1-cp311-cp311-manylinux_2_38_x86_64.whl", id="a C library newer than the hosts'"),
            pytest.param("thing-1-cp311-cp311-manylinux_2_17_aarch64.whl", id="another architecture"),
        ],
    )
    def test_refuses_what_a_host_cannot_use(self, file: str) -> None:
        with pytest.raises(DeploymentError, match=r"Python 3\.11 on x86_64: thing"):
            wheelhouse.choose(package(file), frozenset(["a" * 64]), HERE)

    def test_refuses_a_file_that_the_lock_file_does_not_know(self) -> None:
        with pytest.raises(DeploymentError, match="thing"):
            wheelhouse.choose(package("thing-1-py3-none-any.whl"), frozenset(["b" * 64]), HERE)

    def test_reads_local_files_and_escaped_addresses(self) -> None:
        local = {"packages": [{"name": "thing", "wheels": [
            {"path": "/srv/thing-1-py3-none-any.whl", "hashes": {"sha256": "a" * 64}}]}]}  # fmt: skip
        (wheel,) = wheelhouse.choose(local, frozenset(["a" * 64]), HERE)
        assert wheel.url == "file:///srv/thing-1-py3-none-any.whl"
        (wheel,) = wheelhouse.choose(package("thing-1%2Bcpu-py3-none-any.whl"), frozenset(["a" * 64]), HERE)
        assert wheel.filename == "thing-1+cpu-py3-none-any.whl"


class TestUvEnvironment:
    def test_is_empty_without_settings(self) -> None:
        assert wheelhouse.uv_environment("") == {}

    def test_hands_over_what_pip_is_told(self) -> None:
        config = (
            "global.index-url='https://one.invalid/simple'\n"
            "global.extra-index-url='\\nhttps://two.invalid/simple\\nhttps://three.invalid/simple'\n"
            "global.cert='/etc/ssl/ours.pem'\nglobal.timeout='60'\n"
        )
        assert wheelhouse.uv_environment(config) == {
            "UV_DEFAULT_INDEX": "https://one.invalid/simple",
            "UV_INDEX": "https://two.invalid/simple https://three.invalid/simple",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "SSL_CERT_FILE": "/etc/ssl/ours.pem",
        }

    def test_the_environment_wins_over_files_whatever_the_order(self) -> None:
        config = ":env:.index-url='https://env.invalid'\nglobal.index-url='https://file.invalid'\n"
        assert wheelhouse.uv_environment(config) == {"UV_DEFAULT_INDEX": "https://env.invalid"}


def test_wheels_are_shared_out_with_their_hashes(lock: Path) -> None:
    """pip is told addresses and hashes, so that it neither asks an index nor accepts another file."""
    lines: list[str] = []

    class Listening(FakeIndex):
        def download(self, args: Sequence[str]) -> None:
            assert {"--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version=3.11"} <= {*args}
            lines.extend(Path(option(args, "--requirement")).read_text().splitlines())
            super().download(args)

    ensure(lock, Listening())
    assert sorted(lines) == sorted(f"{p} @ https://x.invalid/{filename(p)} --hash=sha256:{digest(p)}" for p in PROJECTS)
    assert all(re.search("sha256:[0-9a-f]{64}$", line) for line in json.loads(json.dumps(lines)))
