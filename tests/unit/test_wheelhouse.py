"""Wheelhouses: what pip is asked for, and that a directory is complete or absent."""

from __future__ import annotations

import hashlib
import io
import platform
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from enos_crdb import wheelhouse
from enos_crdb.command import Completed, Runner, SubprocessRunner
from enos_crdb.errors import CommandError, DeploymentError
from enos_crdb.testing import RecordingRunner, ended
from enos_crdb.wheelhouse import Target

PROJECTS = ("alpha", "beta", "gamma", "delta", "epsilon")


def content(project: str, tag: str = "py3-none-any") -> bytes:
    """A wheel that pip accepts, always of the same bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as wheel:
        for name, text in {
            "METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n",
            "WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
            "RECORD": "",
        }.items():
            wheel.writestr(zipfile.ZipInfo(f"{project}-1.0.dist-info/{name}"), text)
    return written.getvalue()


def digest(project: str, tag: str = "py3-none-any") -> str:
    return hashlib.sha256(content(project, tag)).hexdigest()


def filename(project: str, tag: str = "py3-none-any") -> str:
    return f"{project}-1.0-{tag}.whl"


@dataclass(kw_only=True)
class FakePip(RecordingRunner):
    """Stands for pip: "downloads" what it is asked for. ``broken``: the project whose download breaks off."""

    broken: str = ""
    fetched: list[str] = field(default_factory=list)

    def answer(self, args: Sequence[str], input: str) -> Completed:
        destination = Path(option(args, "--dest"))
        if args[-1] == "uv":
            destination.mkdir()
            with zipfile.ZipFile(destination / "uv-1-py3-none-any.whl", "w") as wheel:
                wheel.writestr("uv-1.data/scripts/uv", "#!foreign")
            return ended(args)
        for line in input.splitlines():
            project = line.split("==")[0]
            if project == self.broken:
                raise CommandError(args, 1, "", "ERROR: connection reset")
            self.fetched.append(line)
            (destination / filename(project)).write_bytes(content(project))
        return ended(args)


def option(args: Sequence[str], name: str) -> str:
    return next(argument.split("=", 1)[1] for argument in args if argument.startswith(f"{name}="))


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "rally.txt"
    path.write_text("".join(f"{p}==1.0 \\\n    --hash=sha256:{digest(p)}\n" for p in PROJECTS))
    return path


def ensure(
    lock: Path,
    runner: Runner,
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
        directory = ensure(lock, FakePip())
        assert sorted(path.name for path in directory.iterdir()) == sorted(
            [*(filename(p) for p in PROJECTS), "requirements.txt", "uv"]
        )
        assert (directory / "requirements.txt").read_text() == lock.read_text()
        assert (directory / "uv").stat().st_mode & stat.S_IXOTH

    def test_is_filled_once(self, lock: Path) -> None:
        pip = FakePip()
        first = ensure(lock, pip)
        asked = len(pip.commands)
        assert ensure(lock, pip) == first
        assert len(pip.commands) == asked

    @pytest.mark.parametrize("change", ["lock", "python", "machine"])
    def test_is_another_when_what_it_depends_on_changes(self, lock: Path, change: str) -> None:
        first = wheelhouse.location(lock, python_version="3.11", machine="x86_64", cache_dir=lock.parent)
        if change == "lock":
            lock.write_text(lock.read_text() + "# changed\n")
        python, machine = "3.12" if change == "python" else "3.11", "aarch64" if change == "machine" else "x86_64"
        assert wheelhouse.location(lock, python_version=python, machine=machine, cache_dir=lock.parent) != first

    def test_of_two_concurrent_runs_one_fetches_and_the_other_waits(self, lock: Path) -> None:
        fetching, waiting = threading.Event(), threading.Event()

        class Meeting(FakePip):
            def answer(self, args: Sequence[str], input: str) -> Completed:
                fetching.set()
                assert waiting.wait(20), "the other run did not wait"
                return super().answer(args, input)

        def hear(text: str) -> None:
            if text.startswith("Waiting for another run"):
                waiting.set()

        pip = Meeting()
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ensure, lock, pip)
            assert fetching.wait(20)
            second = pool.submit(ensure, lock, pip, notify=hear)
        assert first.result() == second.result()
        assert len(pip.fetched) == len(PROJECTS)

    def test_a_failed_download_leaves_no_wheelhouse_and_says_why(self, lock: Path) -> None:
        with pytest.raises(DeploymentError, match=r"(?s)could not be downloaded.*proxy.*connection reset"):
            ensure(lock, FakePip(broken="delta"))
        assert [path.name for path in (lock.parent / "cache/wheelhouse").iterdir() if not path.suffix] == []
        assert (ensure(lock, FakePip()) / filename("delta")).exists()

    def test_a_python_that_is_too_old_is_refused_before_anything_is_fetched(self, lock: Path) -> None:
        pip = FakePip()
        with pytest.raises(DeploymentError, match=r"rally needs Python 3\.10 or newer, but the hosts have Python 3\.9"):
            ensure(lock, pip, python="3.9")
        assert pip.commands == []

    def test_an_architecture_without_wheels_is_refused(self, lock: Path) -> None:
        with pytest.raises(DeploymentError, match="no wheels of Keystone's dependencies for ppc64le"):
            ensure(lock, FakePip(), machine="ppc64le")

    def test_hosts_of_another_architecture_get_a_uv_of_theirs(self, lock: Path) -> None:
        foreign = "aarch64" if platform.machine() == "x86_64" else "x86_64"
        assert (ensure(lock, FakePip(), machine=foreign) / "uv").read_text() == "#!foreign"


def test_archive_unpacks_to_the_same_directory(lock: Path, tmp_path: Path) -> None:
    directory = ensure(lock, FakePip())
    with tarfile.open(wheelhouse.archive(directory)) as tar:
        tar.extractall(tmp_path / "host", filter="data")
    unpacked = tmp_path / "host" / directory.name
    assert {p.name for p in unpacked.iterdir()} == {p.name for p in directory.iterdir()}
    assert wheelhouse.archive(directory).stat().st_mtime == wheelhouse.archive(directory).stat().st_mtime


class TestRequirements:
    """Which pins of a lock file are for which hosts."""

    LOCK = (
        "# written by uv\n"
        "both==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "old==1.0 ; python_full_version < '3.11' \\\n    --hash=sha256:cc\n"
        "new==2.0 ; python_full_version >= '3.11' \\\n    --hash=sha256:dd\n"
        "windows==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:ee\n"
        "arm==1.0 ; platform_machine == 'aarch64' and platform_python_implementation != 'PyPy' \\\n"
        "    --hash=sha256:ff\n"
        "bare==1.0\n"
    )

    @pytest.mark.parametrize(
        ("python", "machine", "expected"),
        [
            ("3.10", "x86_64", ["both", "old", "bare"]),
            ("3.11", "x86_64", ["both", "new", "bare"]),
            ("3.13", "aarch64", ["both", "new", "arm", "bare"]),
        ],
    )
    def test_are_those_of_the_hosts_python_and_machine(self, python: str, machine: str, expected: list[str]) -> None:
        found = wheelhouse.requirements(self.LOCK, Target(python_version=python, machine=machine))
        assert [line.split("==")[0] for line in found] == expected

    def test_have_their_hashes_and_no_marker(self) -> None:
        found = wheelhouse.requirements(self.LOCK, Target(python_version="3.11", machine="x86_64"))
        assert [line.split() for line in found] == [
            ["both==1.0", "--hash=sha256:aa", "--hash=sha256:bb"],
            ["new==2.0", "--hash=sha256:dd"],
            ["bare==1.0"],  # kept, so that pip refuses it
        ]


def test_wheels_are_shared_out_among_pips_that_check_hashes(lock: Path) -> None:
    pip = FakePip()
    ensure(lock, pip)
    assert sorted(line.split() for line in pip.fetched) == sorted(
        [f"{p}==1.0", f"--hash=sha256:{digest(p)}"] for p in PROJECTS
    )
    assert len(pip.commands) == 4
    for command in pip.commands:
        assert {"--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version=3.11"} <= {*command}


class TestRealPip:
    """What is left to pip: which wheel fits, its hash, and what is there already."""

    TAGS = (
        "py3-none-any",
        "cp39-abi3-manylinux_2_17_{machine}",
        "cp310-cp310-manylinux_2_17_{machine}",
        "cp312-cp312-manylinux_2_17_{machine}",
        "cp310-cp310-musllinux_1_2_{machine}",
        "cp310-cp310-manylinux_2_38_{machine}",
        "cp310-cp310-manylinux_2_17_ppc64le",
    )

    @pytest.fixture
    def index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An index with nothing in it, and none behind it."""
        directory = tmp_path / "index"
        directory.mkdir()
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
        monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
        return directory

    def test_the_best_wheel_for_another_python_and_machine(self, index: Path, tmp_path: Path) -> None:
        for tag in self.tags("aarch64"):
            (index / filename("alpha", tag)).write_bytes(content("alpha", tag))
        assert self.fetch(tmp_path, "aarch64") == [filename("alpha", "cp310-cp310-manylinux_2_17_aarch64")]

    def test_what_hosts_cannot_use_is_refused_in_pips_words(self, index: Path, tmp_path: Path) -> None:
        for tag in self.tags("aarch64")[1:]:
            (index / filename("alpha", tag)).write_bytes(content("alpha", tag))
        with pytest.raises(
            DeploymentError, match=r"(?s)Wheels for Python 3\.10 on x86_64 could not.*No matching distribution.* alpha"
        ):
            self.fetch(tmp_path, "x86_64")

    def test_a_file_that_the_lock_file_does_not_know_is_refused(self, index: Path, tmp_path: Path) -> None:
        (index / filename("alpha")).write_bytes(content("beta"))
        with pytest.raises(DeploymentError, match=r"(?s)could not be downloaded.*HASHES.* alpha==1\.0.*Got"):
            self.fetch(tmp_path, "x86_64")

    def test_a_torn_file_of_an_interrupted_attempt_is_fetched_again(self, index: Path, tmp_path: Path) -> None:
        (index / filename("alpha")).write_bytes(content("alpha"))
        partial = self.location(tmp_path, "x86_64").with_suffix(".partial")
        partial.mkdir(parents=True)
        (partial / filename("alpha")).write_bytes(content("alpha")[:100])
        self.fetch(tmp_path, "x86_64")
        assert (self.location(tmp_path, "x86_64") / filename("alpha")).read_bytes() == content("alpha")

    def tags(self, machine: str) -> list[str]:
        return [tag.format(machine=machine) for tag in self.TAGS]

    def location(self, tmp_path: Path, machine: str) -> Path:
        return wheelhouse.location(self.lock(tmp_path), python_version="3.10", machine=machine, cache_dir=tmp_path)

    def lock(self, tmp_path: Path) -> Path:
        path = tmp_path / "rally.txt"
        hashes = {digest("alpha", tag) for machine in wheelhouse.MACHINES for tag in self.tags(machine)}
        path.write_text("alpha==1.0" + "".join(f" \\\n    --hash=sha256:{one}" for one in sorted(hashes)) + "\n")
        return path

    def fetch(self, tmp_path: Path, machine: str) -> list[str]:
        """The wheels of a wheelhouse for Python 3.10; uv is not what this is about."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("platform.machine", lambda: machine)
            wheelhouse.ensure(
                self.lock(tmp_path),
                python_version="3.10",
                machine=machine,
                cache_dir=tmp_path,
                runner=SubprocessRunner(),
                notify=lambda text: None,
            )
        return [path.name for path in self.location(tmp_path, machine).glob("*.whl")]
