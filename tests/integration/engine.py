"""enos_crdb as its user runs it: a process, a deployment file, an exit status, and what is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enos_crdb.phases.context import open_context
from enos_crdb.phases.remote import ssh_command
from enos_crdb.providers.nspawn import Nspawn
from enos_crdb.providers.nspawn.local import LocalHosts
from enos_crdb.store import Store

ROOT = Path(__file__).resolve().parents[2]
ENGINE = (sys.executable, "-m", "enos_crdb")


@dataclass(frozen=True)
class Ended:
    """A finished command; ``output`` is both of its streams."""

    status: int
    output: str


@dataclass(frozen=True)
class Engine:
    """Runs enos_crdb with a results directory of its own."""

    results: Path

    def run(self, *arguments: str, status: int = 0, timeout_s: float = 900) -> Ended:
        """Run a command to its end and insist on its exit status."""
        done = subprocess.run(
            [*ENGINE, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == status, f"{arguments} ended with {done.returncode}:\n{done.stdout}"
        return Ended(done.returncode, done.stdout)

    def interrupt(
        self,
        arguments: Sequence[str],
        *,
        at: str,
        by: signal.Signals,
        into: Callable[[], object] | None = None,
        timeout_s: float = 600,
    ) -> Ended:
        """Start a command and send it a signal, to its whole process group as a terminal does, when it prints `at`.

        `into` waits until what was announced is really under way.
        """
        process = self.start(["--verbose", *arguments])  # with a line for each task
        assert process.stdout is not None
        seen = []
        deadline = time.monotonic() + timeout_s
        for line in process.stdout:
            seen.append(line)
            if at in line:
                if into:  # the step, not its border
                    into()
                os.killpg(process.pid, by)
                break
            assert time.monotonic() < deadline, "".join(seen)
        else:
            raise AssertionError(f"it never printed {at!r}:\n{''.join(seen)}")
        seen.append(process.stdout.read())
        return Ended(process.wait(timeout=120), "".join(seen))

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        """Start a command in a process group of its own; what it prints comes line by line."""
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            # A shell starts its background jobs deaf to Ctrl-C, and children inherit that; a terminal's jobs are not.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(
            [*ENGINE, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ENOS_CRDB_RESULTS": str(self.results), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}

    @property
    def directory(self) -> Path:
        """The current deployment's directory."""
        return (self.results / "current").resolve()

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "deployment.json").read_text()))

    @property
    def secrets(self) -> dict[str, str]:
        return dict(json.loads((self.directory / "secrets.json").read_text()))

    def run_directory(self) -> Path:
        """The newest run."""
        return sorted((self.directory / "runs").iterdir())[-1]

    @property
    def local_hosts(self) -> Nspawn:
        """The provider's own hand on its hosts: they can be killed, cut off and healed."""
        provider = open_context(Store(self.results).open(self.directory)).provider
        assert isinstance(provider, LocalHosts)
        return provider.nspawn

    def on(self, host: str, command: str, *, status: int = 0) -> str:
        """Run a shell command on a host as `enos_crdb ssh` does, but without a second for starting enos_crdb."""
        context = open_context(Store(self.results).open(self.directory))
        done = subprocess.run(
            ssh_command(context, host, ("sh", "-c", command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == status, f"{command!r} on {host} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def forget_logs(self) -> None:
        """Remove the logs of earlier commands, so that `changed` tells of the next one alone."""
        for log in (self.directory / "logs").glob("*.log"):
            log.unlink()

    def changed(self) -> dict[str, int]:
        """Changed Ansible tasks of the last command, by log file (those that changed something)."""
        found = {}
        for log in sorted((self.directory / "logs").glob("*.log")):
            for line in log.read_text().splitlines():
                if " stats " in line:
                    hosts = json.loads(line[line.index("{") :])["hosts"]
                    found[log.name] = sum(counts["changed"] for counts in hosts.values())
        return {log: count for log, count in found.items() if count}


class ArgvWatch(threading.Thread):
    """Looks at the arguments of every process of this machine, those of the hosts included, for secrets."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(daemon=True)
        self._engine = engine
        self._over = threading.Event()
        self.looks = 0
        self.seen: set[str] = set()

    def __enter__(self) -> ArgvWatch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        written, secrets = 0, dict[str, bytes]()
        while not self._over.wait(0.02):
            try:
                changed = (self._engine.results / "current" / "secrets.json").stat().st_mtime_ns
                if changed != written:
                    secrets = {name: secret.encode() for name, secret in self._engine.secrets.items()}
                    written = changed
            except (OSError, ValueError):  # not written yet
                continue
            self.looks += 1
            for words in _arguments():
                self.seen |= {f"{name} in {words[:80]!r}" for name, secret in secrets.items() if secret in words}


def _arguments() -> Iterator[bytes]:
    """Those of every process. Without pathlib, with which this takes a third of a core from what is tested."""
    for process in os.listdir("/proc"):
        if not process.isdigit():
            continue
        try:
            descriptor = os.open(f"/proc/{process}/cmdline", os.O_RDONLY)
        except OSError:  # it ended meanwhile
            continue
        try:
            yield os.read(descriptor, 1 << 21)  # the most that Linux takes
        except OSError:  # it ended meanwhile
            continue
        finally:
            os.close(descriptor)


def traces(directory: Path, mark: str) -> list[str]:
    """What this machine still has of a deployment: all that bears its mark (``ec<id>``) or its directory."""
    found = [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(mark)]
    for pattern in (
        f"run/netns/{mark}*",
        f"sys/fs/cgroup/{mark}*",
        f"sys/fs/cgroup/*/{mark}*",
        f"sys/fs/cgroup/system.slice/{mark}*",
        f"run/enos_crdb/{mark}*",
        f"run/systemd/nspawn/*/{mark}*",
    ):
        found += [str(path) for path in Path("/").glob(pattern)]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line or mark in line]
    for tool in (["nft", "list", "ruleset"], ["iptables-save"]):
        if shutil.which(tool[0]):
            done = subprocess.run(tool, capture_output=True, text=True, check=False)
            found += [line for line in done.stdout.splitlines() if mark in line]
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = cmdline.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:  # it ended meanwhile
            continue
        if f"={mark}" in words or f"{directory}/ssh" in words or f"/{mark}/" in words:
            found.append(words)
    return found


def mark_of(directory: Path) -> str | None:
    """``ec<id>`` of a deployment on local hosts, or nothing when none was begun."""
    file = directory / "nspawn.json"
    return "ec" + json.loads(file.read_text())["id"] if file.exists() else None
