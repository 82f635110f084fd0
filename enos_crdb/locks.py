"""Lock files: every distribution of a virtualenv, pinned with hashes, for every Python it may meet.

``<name>.in`` says what is wanted, ``<name>.constraints`` (where there is one) what OpenStack's gate tests
together, ``<name>.txt`` is the lock file itself. None of them names a package index: that is the machine's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from enos_crdb.command import Runner

OLDEST_PYTHON: Mapping[str, str] = {
    "keystone-2025.2": "3.10",
    "keystone-2026.1": "3.10",
    "keystone-2026.2": "3.11",
    "rally": "3.10",
}
"""Lock file -> oldest Python it can be installed on, as the distributions in it declare."""


def keystone_lock(release: str) -> str:
    """Name of the lock file of an OpenStack release."""
    return f"keystone-{release}"


def lock_file(directory: Path, name: str) -> Path:
    """The lock file `name` (a key of `OLDEST_PYTHON`) of the directory of lock files."""
    return directory / f"{name}.txt"


def too_old(python_version: str, oldest: str) -> bool:
    """Whether `python_version` is before `oldest`, both like ``3.10``."""
    return _numbers(python_version) < _numbers(oldest)


def write(
    directory: Path, *, uv: str, runner: Runner, upgrade: bool = False, notify: Callable[[str], None] = print
) -> None:
    """Write every lock file of `directory` anew from its ``.in`` file.

    Pins that still fit are kept unless `upgrade`. Only wheels are accepted, because a host has no compiler.
    Raises `CommandError` with uv's explanation when nothing satisfies the requirements.
    """
    for name, oldest in OLDEST_PYTHON.items():
        notify(f"{name}: resolving for Python {oldest} and newer")
        runner.run(_compile_command(name, oldest, uv, upgrade), cwd=directory, timeout_s=600)


def _compile_command(name: str, oldest: str, uv: str, upgrade: bool) -> list[str]:
    command = [uv, "pip", "compile", "--quiet", "--universal", f"--python-version={oldest}", "--only-binary=:all:"]
    command += ["--no-python-downloads", "--generate-hashes", "--no-annotate", "--no-emit-index-url"]
    command += ["--no-emit-find-links", "--custom-compile-command=invoke lock"]
    if upgrade:
        command.append("--upgrade")
    return [*command, f"--output-file={name}.txt", f"{name}.in"]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
