"""Wheelhouses: the wheels of one lock file, for one Python and one architecture, downloaded once per machine.

A wheelhouse is a directory of wheels with its lock file (``requirements.txt``) and a ``uv`` that runs on the
hosts, so that a host needs neither a package index nor pip. This interpreter's pip finds, chooses, checks and keeps
the wheels, from the index that pip is configured for on this machine (uv downloads none).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uv
from packaging.requirements import Requirement

from enos_crdb import locks
from enos_crdb.command import Runner
from enos_crdb.errors import CommandError, DeploymentError

MACHINES = ("x86_64", "aarch64")
"""Architectures for which Keystone's compiled dependencies have wheels."""

REQUIREMENTS = "requirements.txt"
"""The lock file, inside a wheelhouse."""

_GLIBC = 31  # minor version of the oldest host's C library: Debian 11
_DOWNLOADS = 4  # pip fetches one file after the other; beyond four of them two cores are busy


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the wheels must run on: ``python_version`` like ``3.11``, ``machine`` like ``x86_64``."""

    python_version: str
    machine: str

    def __str__(self) -> str:
        return f"Python {self.python_version} on {self.machine}"


def location(lock: Path, *, python_version: str, machine: str, cache_dir: Path) -> Path:
    """Where the wheelhouse of `lock` is, or will be; its name is a digest of everything it depends on."""
    content = f"{python_version} {machine} ".encode() + lock.read_bytes()
    return cache_dir / "wheelhouse" / hashlib.sha256(content).hexdigest()[:16]


def ensure(
    lock: Path,
    *,
    python_version: str,
    machine: str,
    cache_dir: Path,
    runner: Runner,
    notify: Callable[[str], None],
) -> Path:
    """The wheelhouse of `lock` for hosts with `python_version` (``3.11``) on `machine`; built when absent.

    Complete or absent: it is filled beside its place and renamed. Of two concurrent runs one builds and the other
    waits; an interrupted one is continued. Raises `DeploymentError`.
    """
    target = location(lock, python_version=python_version, machine=machine, cache_dir=cache_dir)
    if target.is_dir():
        return target
    wanted = Target(python_version=python_version, machine=machine)
    _refuse_impossible(lock, wanted)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(target.with_suffix(".lock"), f"Waiting for another run that fetches {lock.stem}", notify):
        if not target.is_dir():
            partial = target.with_suffix(".partial")
            partial.mkdir(exist_ok=True)
            started = time.monotonic()
            count = _fill(partial, lock, wanted, runner, notify)
            partial.rename(target)
            notify(f"{lock.stem}: {count} wheels ready in {time.monotonic() - started:.0f} s")
    return target


def archive(wheelhouse: Path) -> Path:
    """A tar file of `wheelhouse`, for hosts that cannot see this machine's directories. Written once."""
    target = wheelhouse.with_suffix(".tar")
    if not target.exists():
        partial = wheelhouse.with_suffix(f".tar.{os.getpid()}")
        with tarfile.open(partial, "w") as tar:
            tar.add(wheelhouse, arcname=wheelhouse.name)
        partial.rename(target)
    return target


def requirements(lock: str, target: Target) -> list[str]:
    """What a lock file pins for hosts like `target`, each with its hashes and without its marker.

    Left to pip, markers would be those of the Python that runs it, whatever ``--python-version`` says.
    """
    host = {
        "implementation_name": "cpython",
        "platform_machine": target.machine,
        "platform_python_implementation": "CPython",
        "python_full_version": f"{target.python_version}.0",
        "python_version": target.python_version,
        "sys_platform": "linux",
    }
    found = []
    for line in lock.replace("\\\n", "").splitlines():
        if line and not line.startswith("#"):
            pin, *hashes = line.split("--hash=")
            wanted = Requirement(pin)
            if wanted.marker is None or wanted.marker.evaluate(host):
                wanted.marker = None
                found.append(" --hash=".join([str(wanted), *hashes]) + "\n")
    return found


def _refuse_impossible(lock: Path, target: Target) -> None:
    oldest = locks.OLDEST_PYTHON.get(lock.stem)
    if oldest and locks.too_old(target.python_version, oldest):
        raise DeploymentError(
            f"{lock.stem} needs Python {oldest} or newer, but the hosts have Python {target.python_version}.\n"
            "Choose an older release (`openstack.release`) or a newer distribution for the hosts."
        )
    if target.machine not in MACHINES:
        raise DeploymentError(
            f"There are no wheels of Keystone's dependencies for {target.machine}, only for {', '.join(MACHINES)}.\n"
            "Choose hosts of one of these architectures."
        )


@contextmanager
def _exclusive(path: Path, waiting: str, notify: Callable[[str], None]) -> Iterator[None]:
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify(waiting)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _fill(directory: Path, lock: Path, target: Target, runner: Runner, notify: Callable[[str], None]) -> int:
    """Put everything into `directory`, which may hold the wheels of an interrupted attempt; the number of wheels."""
    wanted = requirements(lock.read_text(), target)
    notify(f"{lock.stem}: fetching {len(wanted)} wheels for Python {target.python_version}")
    _download(wanted, directory, target, runner)
    _add_uv(directory, target, runner)
    shutil.copyfile(lock, directory / REQUIREMENTS)
    return len(wanted)


def _download(wanted: Sequence[str], directory: Path, target: Target, runner: Runner) -> None:
    """Fetch `wanted` with several pips at once. What is in `directory` is kept where its hash is right."""

    def fetch(number: int) -> None:
        share = "".join(wanted[number::_DOWNLOADS])
        _pip(["--require-hashes", "--requirement=/dev/stdin"], directory, target, runner, input=share)

    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        list(pool.map(fetch, range(min(_DOWNLOADS, len(wanted)))))


def _pip(what: Sequence[str], directory: Path, target: Target, runner: Runner, *, input: str | None = None) -> None:
    """Download wheels for `target` into `directory`."""
    abi = f"cp{target.python_version.replace('.', '')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += [f"--python-version={target.python_version}", "--implementation=cp"]
    command += [f"--abi={abi}", "--abi=abi3", "--abi=none", *(f"--platform={name}" for name in _platforms(target))]
    try:
        runner.run([*command, f"--dest={directory}", *what], input=input, timeout_s=1800)
    except CommandError as error:
        said = [line for line in error.stderr.splitlines() if "Expected     or" not in line]  # every hash of a pin
        raise DeploymentError(
            f"Wheels for {target} could not be downloaded.\n"
            "Usual reasons: no network, a proxy or an index that pip does not know of (`pip config list`), a version "
            "withdrawn from the index (then `invoke lock` writes a new lock file), or no wheel for these hosts (then "
            "choose another `openstack.release`, or hosts with another Python).\n"
            "What was downloaded is kept; run the command again to go on.\npip's words:\n" + "\n".join(said[-15:])
        ) from error


def _platforms(target: Target) -> list[str]:
    """pip's names of what a host can run, which it does not derive from the newest."""
    old = ["manylinux2014"] + (["manylinux2010", "manylinux1"] if target.machine == "x86_64" else [])
    modern = [f"manylinux_2_{minor}" for minor in range(_GLIBC, 4, -1)]
    return [f"{name}_{target.machine}" for name in [*modern, *old, "linux"]]


def _add_uv(directory: Path, target: Target, runner: Runner) -> None:
    """Add an executable uv: this machine's own, or one from a wheel when the hosts' architecture differs."""
    program = directory / "uv"
    if target.machine == platform.machine():
        shutil.copyfile(uv.find_uv_bin(), program)
    else:
        scratch = directory / "uv-wheel"
        _pip(["uv"], scratch, target, runner)
        _extract_uv(next(scratch.glob("uv-*.whl")), program)
        shutil.rmtree(scratch)
    program.chmod(0o755)


def _extract_uv(wheel: Path, program: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        name = next(name for name in content.namelist() if name.endswith(".data/scripts/uv"))
        with content.open(name) as source, program.open("wb") as destination:
            shutil.copyfileobj(source, destination)
