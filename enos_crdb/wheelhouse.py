"""Wheelhouses: the wheels of one lock file, for one Python and one architecture, downloaded once per machine.

A wheelhouse is a directory of wheels with its lock file (``requirements.txt``) and a ``uv`` that runs on the
hosts, so that a host needs neither a package index nor pip. uv finds the files (seconds instead of a minute of
index pages), this interpreter's pip fetches them; both follow what pip is told on this machine.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import platform
import re
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import uv
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from enos_crdb import locks
from enos_crdb.command import Runner
from enos_crdb.errors import CommandError, DeploymentError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MACHINES = ("x86_64", "aarch64")
"""Architectures for which Keystone's compiled dependencies have wheels."""

REQUIREMENTS = "requirements.txt"
"""The lock file, inside a wheelhouse."""

_GLIBC = 31  # minor version of the oldest host's C library: Debian 11
_DOWNLOADS = 4  # pip fetches one file after the other; beyond four of them two cores are busy
_UNREACHABLE = (
    "Usual reasons: no network, a proxy or an index that pip does not know of (`pip config list`), "
    "or a version withdrawn from the index (then `invoke lock` writes a new lock file). "
    "What was downloaded is kept; run the command again to go on."
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the wheels must run on: ``python_version`` like ``3.11``, ``machine`` like ``x86_64``."""

    python_version: str
    machine: str


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel to fetch: where it is and what it must contain."""

    project: str
    filename: str
    url: str
    sha256: str


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


def choose(pylock: Mapping[str, Any], allowed: frozenset[str], target: Target) -> tuple[Wheel, ...]:
    """The best wheel of each distribution that a host can use and the lock file allows, from uv's `pylock`.

    Raises `DeploymentError` naming the distributions that have none.
    """
    rank = {tag: position for position, tag in enumerate(_tags(target))}
    wheels = {package["name"]: _best(package, allowed, rank) for package in pylock["packages"]}
    missing = sorted(name for name, wheel in wheels.items() if wheel is None)
    if missing:
        raise DeploymentError(
            f"No wheel in the lock file fits Python {target.python_version} on {target.machine}: "
            f"{', '.join(missing)}.\n"
            "Choose another release (`openstack.release`) or a host with another Python."
        )
    return tuple(wheel for wheel in wheels.values() if wheel is not None)


def uv_environment(pip_config: str) -> dict[str, str]:
    """uv's environment variables for what `pip config list` printed (uv reads none of pip's files)."""
    settings = _pip_settings(pip_config)
    indexes = " ".join(settings.get("extra-index-url", "").split())
    environment = {
        "UV_DEFAULT_INDEX": settings.get("index-url", ""),
        "UV_INDEX": indexes,
        "UV_FIND_LINKS": " ".join(settings.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(settings.get("trusted-host", "").split()),
        "SSL_CERT_FILE": settings.get("cert", ""),
        "HTTP_PROXY": settings.get("proxy", ""),
        "HTTPS_PROXY": settings.get("proxy", ""),
        # pip looks at all its indexes alike; the lock file's hashes decide what is accepted.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if indexes else "",
    }
    return {name: value for name, value in environment.items() if value}


def _pip_settings(pip_config: str) -> dict[str, str]:
    """Option -> value; the environment (``:env:``) wins over ``download``, which wins over ``global``."""
    found: dict[str, tuple[int, str]] = {}
    sections = ("global", "download", ":env:")
    for line in pip_config.splitlines():
        match = re.match(r"(global|download|:env:)\.([a-z-]+)=(['\"].*)$", line)
        if match:
            precedence = sections.index(match[1])
            if precedence >= found.get(match[2], (-1, ""))[0]:
                found[match[2]] = (precedence, ast.literal_eval(match[3]))
    return {option: value for option, (_, value) in found.items()}


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
    """Put everything into `directory`, which may hold the wheels of an interrupted attempt."""
    allowed = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock.read_text()))
    wheels = choose(_resolve(lock, directory, target, runner), allowed, target)
    absent = [wheel for wheel in wheels if not _is_there(wheel, directory)]
    notify(f"{lock.stem}: fetching {len(absent)} of {len(wheels)} wheels for Python {target.python_version}")
    _download(absent, directory, target, runner)
    _add_uv(directory, target, runner)
    shutil.copyfile(lock, directory / REQUIREMENTS)
    return len(wheels)


def _resolve(lock: Path, directory: Path, target: Target, runner: Runner) -> Mapping[str, Any]:
    """Where the files of `lock` are: uv's pylock.toml for `target`."""
    pip = runner.run([sys.executable, "-m", "pip", "config", "list"], check=False)
    output = directory / "pylock.toml"
    command = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--no-deps", "--only-binary=:all:", "--no-header"]
    command += [f"--python-version={target.python_version}"]
    command += [f"--python-platform={target.machine}-manylinux_2_{_GLIBC}"]
    command += ["--no-python-downloads", "--format=pylock.toml", f"--output-file={output}", str(lock)]
    try:
        runner.run(command, env=uv_environment(pip.stdout), timeout_s=600)
    except CommandError as error:
        raise DeploymentError(f"The wheels of {lock.name} were not found.\n{_UNREACHABLE}\n{error}") from error
    found: Mapping[str, Any] = tomllib.loads(output.read_text())
    output.unlink()
    return found


def _tags(target: Target) -> Iterator[Tag]:
    """Wheel tags that a host accepts, best first."""
    version = [int(part) for part in target.python_version.split(".")]
    platforms = _platforms(target.machine)
    yield from cpython_tags(version, platforms=platforms)
    yield from compatible_tags(version, f"cp{version[0]}{version[1]}", platforms)


def _platforms(machine: str) -> list[str]:
    old = ["manylinux2014"] + (["manylinux2010", "manylinux1"] if machine == "x86_64" else [])
    modern = [f"manylinux_2_{minor}" for minor in range(_GLIBC, 4, -1)]
    return [f"{name}_{machine}" for name in [*modern, *old, "linux"]]


def _best(package: Mapping[str, Any], allowed: frozenset[str], rank: Mapping[Tag, int]) -> Wheel | None:
    candidates: list[tuple[int, Wheel]] = []
    for entry in package.get("wheels", []):
        url = entry.get("url") or Path(entry["path"]).absolute().as_uri()
        filename = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
        sha256 = entry["hashes"].get("sha256", "")
        try:
            tags = parse_wheel_filename(filename)[3]
        except InvalidWheelFilename:
            continue
        fitting = [rank[tag] for tag in tags if tag in rank]
        if sha256 in allowed and fitting:
            wheel = Wheel(project=package["name"], filename=filename, url=url, sha256=sha256)
            candidates.append((min(fitting), wheel))
    return min(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def _is_there(wheel: Wheel, directory: Path) -> bool:
    path = directory / wheel.filename
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == wheel.sha256


def _download(wheels: Sequence[Wheel], directory: Path, target: Target, runner: Runner) -> None:
    """Fetch `wheels` with several pips at once; each is given addresses and hashes and looks at no index."""
    command = [*_pip_download(target), "--require-hashes", f"--dest={directory}"]

    def fetch(number: int) -> None:
        share = directory / f"fetch-{number}.txt"
        lines = [f"{w.project} @ {w.url} --hash=sha256:{w.sha256}\n" for w in wheels[number::_DOWNLOADS]]
        share.write_text("".join(lines))
        runner.run([*command, f"--requirement={share}"], timeout_s=1800)
        share.unlink()

    try:
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            list(pool.map(fetch, range(min(_DOWNLOADS, len(wheels)))))
    except CommandError as error:
        raise DeploymentError(f"Wheels could not be downloaded.\n{_UNREACHABLE}\n{error}") from error


def _pip_download(target: Target) -> list[str]:
    abi = f"cp{target.python_version.replace('.', '')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += [f"--python-version={target.python_version}", "--implementation=cp"]
    command += [f"--abi={abi}", "--abi=abi3", "--abi=none"]
    return command + [f"--platform={name}" for name in _platforms(target.machine)]


def _add_uv(directory: Path, target: Target, runner: Runner) -> None:
    """Add an executable uv: this machine's own, or one from a wheel when the hosts' architecture differs."""
    program = directory / "uv"
    if target.machine == platform.machine():
        shutil.copyfile(uv.find_uv_bin(), program)
    else:
        scratch = directory / "uv-wheel"
        try:
            runner.run([*_pip_download(target), f"--dest={scratch}", "uv"], timeout_s=600)
        except CommandError as error:
            raise DeploymentError(f"uv for {target.machine} could not be had.\n{_UNREACHABLE}\n{error}") from error
        _extract_uv(next(scratch.glob("uv-*.whl")), program)
        shutil.rmtree(scratch)
    program.chmod(0o755)


def _extract_uv(wheel: Path, program: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        name = next(name for name in content.namelist() if name.endswith(".data/scripts/uv"))
        with content.open(name) as source, program.open("wb") as destination:
            shutil.copyfileobj(source, destination)
