"""Virtualenvs with one release's Keystone, from the lock files that deployments use."""

from __future__ import annotations

import fcntl
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uv

from enos_crdb import keystone_wheel, software, wheelhouse
from enos_crdb.command import Runner, SubprocessRunner
from enos_crdb.phases.context import cache_directory

ROOT = Path(__file__).resolve().parents[2]
RELEASES = tuple(
    sorted(path.stem.removeprefix("keystone-") for path in (ROOT / "playbooks" / "locks").glob("keystone-*.txt"))
)


def environment(release: str, *, bare: bool = False) -> Path:
    """The Python of a virtualenv that holds `release`'s locked Keystone, and keystone_crdb unless `bare`.

    Both are kept: Keystone by the digest of its lock file (10 s to make), keystone_crdb by the digest of its
    sources (1 s). Raises `DeploymentError` when wheels cannot be had.
    """
    cache = cache_directory() / "test-keystone"
    cache.mkdir(parents=True, exist_ok=True)
    runner = SubprocessRunner()
    stock = _stock(release, cache, runner)
    return stock / "bin" / "python" if bare else _extended(stock, cache, runner) / "bin" / "python"


def _stock(release: str, cache: Path, runner: Runner) -> Path:
    lock = ROOT / "playbooks" / "locks" / f"keystone-{release}.txt"
    wheels = wheelhouse.ensure(
        lock,
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        machine=platform.machine(),
        cache_dir=cache_directory(),
        runner=runner,
        notify=print,
    )
    target = cache / f"keystone-{release}-{wheels.name}"
    with _once(target) as needed:
        if needed:
            _virtualenv(target, runner)
            command = [*_pip("sync", target, wheels), "--require-hashes", str(wheels / wheelhouse.REQUIREMENTS)]
            # Keystone starts some twenty times in a test session: 2 s with bytecode, 12 s without.
            runner.run([*command, "--compile-bytecode"], timeout_s=600)
    return target


def _extended(stock: Path, cache: Path, runner: Runner) -> Path:
    """A virtualenv of keystone_crdb alone, which also sees everything of `stock`.

    It is made again for every change of the sources, and a second whole Keystone each time would be 10 s and 100 MB.
    """
    target = cache / f"{stock.name}-with-{software.keystone_crdb_digest()}"
    with _once(target) as needed:
        if needed:
            _virtualenv(target, runner)
            wheel = keystone_wheel.ensure(cache, runner)
            runner.run([*_pip("install", target, wheel.parent), "--no-deps", str(wheel)], timeout_s=600)
            (_site_packages(target) / "stock.pth").write_text(f"{_site_packages(stock)}\n")
    return target


def _virtualenv(target: Path, runner: Runner) -> None:
    runner.run(
        [uv.find_uv_bin(), "venv", "--quiet", "--no-config", "--offline", f"--python={sys.executable}", str(target)],
        timeout_s=120,
    )


def _pip(verb: str, target: Path, wheels: Path) -> list[str]:
    command = [uv.find_uv_bin(), "pip", verb, "--quiet", "--no-config", "--offline", "--no-index"]
    return [*command, f"--python={target / 'bin' / 'python'}", f"--find-links={wheels}"]


def _site_packages(target: Path) -> Path:
    return next((target / "lib").glob("python3.*")) / "site-packages"


@contextmanager
def _once(target: Path) -> Iterator[bool]:
    """Whether `target` must be made; of two processes that ask at once the second waits. Whole or made again."""
    with target.with_name(f"{target.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        complete = target / "complete"
        needed = not complete.exists()
        if needed:
            shutil.rmtree(target, ignore_errors=True)
        yield needed
        if needed:
            complete.touch()
