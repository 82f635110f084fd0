"""The door to processes on this machine: the only module that imports `subprocess`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from enos_crdb.errors import CommandError

LibraryProcessFailed = subprocess.CalledProcessError
"""What a library raises that starts processes on its own (python-vagrant, for EnOSlib)."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A process that ended. ``seconds`` is wall-clock time."""

    args: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float


class Runner(Protocol):
    """Runs a command to its end and gives back what it printed."""

    def run(
        self,
        args: Sequence[str],
        *,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_s: float | None = None,
        check: bool = True,
    ) -> Completed:
        """Run `args` (never through a shell). ``env`` is added to the environment of this process.

        Raises `CommandError` when ``check`` and the status is not 0, when the program does not exist
        (status 127) or cannot be executed (126), or after ``timeout_s`` (status 124; the process is killed).
        """


class SubprocessRunner:
    """`Runner` on real processes."""

    def run(
        self,
        args: Sequence[str],
        *,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_s: float | None = None,
        check: bool = True,
    ) -> Completed:
        started = time.monotonic()
        try:
            done = subprocess.run(
                list(args),
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                env={**os.environ, **env} if env else None,
                cwd=cwd,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError as error:
            raise CommandError(args, 127, "", f"{error.filename}: no such program or directory") from error
        except OSError as error:
            raise CommandError(args, 126, "", f"{error.filename}: cannot be executed ({error.strerror})") from error
        except subprocess.TimeoutExpired as error:
            raise CommandError(args, 124, "", f"killed after {timeout_s:g} s without an end") from error
        completed = Completed(
            args=tuple(args),
            returncode=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            seconds=time.monotonic() - started,
        )
        if check and completed.returncode != 0:
            raise CommandError(args, completed.returncode, completed.stdout, completed.stderr)
        return completed


def follow(
    args: Sequence[str],
    *,
    on_line: Callable[[str], None],
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    patience_s: float = 120.0,
) -> Completed:
    """Run `args` to their end, giving `on_line` each line of both streams as it comes; ``stdout`` has them all.

    For processes that must not be torn off: they run in a session of their own, where a terminal's Ctrl-C does not
    reach them. When this process is interrupted, they get SIGINT and, ``patience_s`` later, SIGKILL.
    Any status is returned. Raises `CommandError` when the program cannot be started (127, 126).
    """
    started = time.monotonic()
    lines = []
    with _session(args, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            try:
                process.stdin.write(input or "")
                process.stdin.close()
            except BrokenPipeError:  # it ended without reading: its status tells why
                pass
            for line in process.stdout:
                lines.append(line)
                on_line(line.rstrip("\n"))
            process.wait()
        except BaseException:  # also KeyboardInterrupt: nobody else would end it
            _end(process, patience_s)
            raise
    seconds = time.monotonic() - started
    return Completed(args=tuple(args), returncode=process.returncode, stdout="".join(lines), stderr="", seconds=seconds)


def converse(args: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that is spoken to over pipes, in a session of its own (a terminal's Ctrl-C does not reach it).

    Raises `CommandError` when it cannot be started (127, 126).
    """
    try:
        return subprocess.Popen(
            list(args),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise CommandError(args, 127, "", f"{error.filename}: no such program or directory") from error
    except OSError as error:
        raise CommandError(args, 126, "", f"{error.filename}: cannot be executed ({error.strerror})") from error


def _session(args: Sequence[str], *, env: Mapping[str, str] | None) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(args),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **env} if env else None,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise CommandError(args, 127, "", f"{error.filename}: no such program or directory") from error
    except OSError as error:
        raise CommandError(args, 126, "", f"{error.filename}: cannot be executed ({error.strerror})") from error


def _end(process: subprocess.Popen[str], patience_s: float) -> None:
    """End a session of ours: asked first, killed when it takes too long or the user insists."""
    deadline = time.monotonic() + patience_s
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    try:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(BlockingIOError):
                os.read(pipe, 1 << 20)  # a full pipe would keep it from ending
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def replace_process(args: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
    """Run an interactive command on this terminal (ssh, openstack) and return its status."""
    try:
        return subprocess.call(list(args), env={**os.environ, **env} if env else None)
    except FileNotFoundError as error:
        raise CommandError(args, 127, "", f"{error.filename}: no such program") from error
    except OSError as error:
        raise CommandError(args, 126, "", f"{error.filename}: cannot be executed ({error.strerror})") from error


def start_detached(args: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start `args` in a session of its own, output appended to `log`; returns its pid."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            list(args),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={**os.environ, **env} if env else None,
        )
    return process.pid
