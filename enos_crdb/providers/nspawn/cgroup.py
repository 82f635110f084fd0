"""A cgroup of its own for every host: the one place that knows how this machine organises them.

Without one, containers share ``/system.slice`` and remove each other's, and services fail at random.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from enos_crdb.command import Runner
from enos_crdb.errors import ProviderError

ROOT = Path("/sys/fs/cgroup")
_CPU_PERIOD_US = 100_000

# The shell enters the groups before it becomes the container, so no process is ever outside of them.
_ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'


class Cgroups(Protocol):
    """Groups of processes, one per container."""

    def launch(
        self, name: str, command: Sequence[str], *, cpus: float | None, memory_mb: int | None
    ) -> tuple[list[str], list[str]]:
        """Prepare the group `name`; gives the command line that runs `command` in it, and warnings."""

    def paths(self, name: str) -> list[Path]:
        """The group's directories that exist."""

    def names(self, prefix: str) -> set[str]:
        """Groups whose name starts with `prefix`."""

    def remove(self, name: str) -> None:
        """Forget the group, whose processes have ended."""


def detect(runner: Runner) -> Cgroups:
    """What this machine has: groups given by systemd, the single hierarchy (v2), or one per controller (v1)."""
    if Path("/run/systemd/system").is_dir():
        return ScopeCgroups(runner)
    if (ROOT / "cgroup.controllers").exists():
        return UnifiedCgroups(ROOT)
    return HierarchyCgroups(ROOT)


class ScopeCgroups:
    """Where systemd is process 1: a transient scope per container, delegated to the systemd inside."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def launch(
        self, name: str, command: Sequence[str], *, cpus: float | None, memory_mb: int | None
    ) -> tuple[list[str], list[str]]:
        # A failed unit of that name would refuse the new one.
        self._runner.run(["systemctl", "reset-failed", f"{name}.scope"], check=False)
        return [*scope_prefix(name, cpus=cpus, memory_mb=memory_mb), *command], []

    def paths(self, name: str) -> list[Path]:
        shown = self._runner.run(
            ["systemctl", "show", "--property=ControlGroup", "--value", f"{name}.scope"], check=False
        ).stdout.strip()
        if not shown:
            return []
        return [path for base in _hierarchies() if (path := base / shown.lstrip("/")).is_dir()]

    def names(self, prefix: str) -> set[str]:
        shown = self._runner.run(
            ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{prefix}*.scope"], check=False
        ).stdout
        return {line.split()[0].removesuffix(".scope") for line in shown.splitlines() if line.strip()}

    def remove(self, name: str) -> None:
        self._runner.run(["systemctl", "stop", f"{name}.scope"], check=False)
        self._runner.run(["systemctl", "reset-failed", f"{name}.scope"], check=False)


def scope_prefix(name: str, *, cpus: float | None, memory_mb: int | None) -> list[str]:
    """`systemd-run` and its options, up to where the command begins."""
    limits = []
    if cpus is not None:
        limits.append(f"--property=CPUQuota={cpus * 100:.0f}%")
    if memory_mb is not None:
        limits += [f"--property=MemoryMax={memory_mb}M", "--property=MemorySwapMax=0"]
    words = [f"--unit={name}", f"--description=enos_crdb host {name}", "--property=Delegate=yes"]
    return ["systemd-run", "--scope", "--quiet", "--collect", *words, *limits, "--"]


class UnifiedCgroups:
    """Without systemd, one hierarchy (v2): a directory per container below the root we see."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def launch(
        self, name: str, command: Sequence[str], *, cpus: float | None, memory_mb: int | None
    ) -> tuple[list[str], list[str]]:
        group = self._root / name
        group.mkdir(exist_ok=True)
        quota = None if cpus is None else f"{int(cpus * _CPU_PERIOD_US)} {_CPU_PERIOD_US}"
        wanted = {"cpu": ("cpu.max", quota), "memory": ("memory.max", _bytes(memory_mb))}
        warnings = []
        for controller, (file, value) in wanted.items():
            if value is None:
                continue
            if not (_write(self._root / "cgroup.subtree_control", f"+{controller}") and _write(group / file, value)):
                warnings.append(f"this machine's cgroup refuses a {controller} limit; {name} runs without")
        return ["sh", "-c", _ENTER, name, str(group), "--", *command], warnings

    def paths(self, name: str) -> list[Path]:
        return [path for path in [self._root / name] if path.is_dir()]

    def names(self, prefix: str) -> set[str]:
        return {path.name for path in self._root.glob(f"{prefix}*") if path.is_dir()}

    def remove(self, name: str) -> None:
        for path in self.paths(name):
            _remove_tree(path)


class HierarchyCgroups:
    """Without systemd, one hierarchy per controller (v1): a directory per container in each of them.

    ``cpuset`` stays out: a new group there has no CPU, and no process can enter it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def _bases(self) -> list[Path]:
        found = {path.resolve() for path in self._root.iterdir() if path.is_dir()}
        return sorted(path for path in found if "cpuset" not in path.name and (path / "cgroup.procs").exists())

    def launch(
        self, name: str, command: Sequence[str], *, cpus: float | None, memory_mb: int | None
    ) -> tuple[list[str], list[str]]:
        groups = [base / name for base in self._bases()]
        for group in groups:
            group.mkdir(exist_ok=True)
        quota = None if cpus is None else str(int(cpus * _CPU_PERIOD_US))
        wanted = {
            "cpu": (("cpu.cfs_period_us", quota and str(_CPU_PERIOD_US)), ("cpu.cfs_quota_us", quota)),
            "memory": (("memory.limit_in_bytes", _bytes(memory_mb)),),
        }
        warnings = []
        for controller, files in wanted.items():
            group = (self._root / controller).resolve() / name
            if not all(_write(group / file, value) for file, value in files if value is not None):
                warnings.append(f"this machine's cgroup refuses a {controller} limit; {name} runs without")
        return ["sh", "-c", _ENTER, name, *map(str, groups), "--", *command], warnings

    def paths(self, name: str) -> list[Path]:
        return [path for base in self._bases() if (path := base / name).is_dir()]

    def names(self, prefix: str) -> set[str]:
        return {path.name for base in self._bases() for path in base.glob(f"{prefix}*") if path.is_dir()}

    def remove(self, name: str) -> None:
        for path in self.paths(name):
            _remove_tree(path)


def processes(cgroups: Cgroups, name: str) -> set[int]:
    """Every process of the container `name`, as this machine numbers them; also one that is about to become it."""
    found = set(_starting(name))
    for path in cgroups.paths(name):
        for directory, _, files in os.walk(path):
            if "cgroup.procs" in files:
                found |= _pids(Path(directory) / "cgroup.procs")
    return found


def kill(cgroups: Cgroups, name: str, *, timeout_s: float = 20.0) -> None:
    """SIGKILL every process of the container and wait for their end. Raises `ProviderError` on a survivor."""
    deadline = time.monotonic() + timeout_s
    while pids := processes(cgroups, name):
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise ProviderError(
                f"Processes {sorted(pids)} of the local host {name} survive SIGKILL (usually stuck in a disk or "
                f"network file system).\nWait for the device, then destroy again."
            )
        time.sleep(0.02)


def terminate(cgroups: Cgroups, name: str) -> None:
    """Ask the container's systemd to shut down (nspawn turns SIGTERM into the right request)."""
    for pid in _starting(name):
        _signal(pid, signal.SIGTERM)


def _starting(name: str) -> Iterator[int]:
    """Processes with ``--machine=<name>`` on their command line: nspawn, or what will become it."""
    wanted = f"--machine={name}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it ended meanwhile
                continue
            if wanted in arguments:
                yield int(entry.name)


def _pids(file: Path) -> set[int]:
    try:
        return {int(line) for line in file.read_text().split()} - {0}
    except OSError:  # the group was removed meanwhile
        return set()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _hierarchies() -> list[Path]:
    return [ROOT, *(path for path in ROOT.iterdir() if path.is_dir() and not path.is_symlink())]


def _bytes(memory_mb: int | None) -> str | None:
    return None if memory_mb is None else str(memory_mb * 1024 * 1024)


def _write(file: Path, value: str) -> bool:
    try:
        file.write_text(value)
    except OSError:
        return False
    return True


def _remove_tree(group: Path, *, timeout_s: float = 5.0) -> None:
    """Remove a group and those below it; the kernel needs a moment after the last process ended."""
    deadline = time.monotonic() + timeout_s
    while group.is_dir():
        for directory, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(directory)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ProviderError(f"The cgroup {directory} cannot be removed: {error.strerror}.") from error
        time.sleep(0.01)
