"""The store: the directory tree of deployments and runs. The only module that writes it.

Plain JSON, written atomically (a reader sees the old file or the new one), mode 0600.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets as random_source
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from enos_crdb.errors import StateError
from enos_crdb.model import Host, Lease, Network, Resources, System

SCHEMA_VERSION = 1
CAMPAIGNS = "campaigns"
"""Directory of campaigns below the results."""
ORPHANS_END_S = 60.0
"""How long the workers of a killed command may still hold its deployment."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What `deployment.json` holds.

    ``configuration`` is the resolved deployment file. ``done`` maps a step of the deployment to when it
    ended (ISO 8601, UTC) and how long it took (seconds). ``layers`` maps a host to the prepared layer it
    was booted from. ``emulation`` is the network emulation in force: ``constraints``, ``emulator``, ``baseline`` (round
    trips without it) and ``set_at`` (None while it is being installed); None when the network is as it is.
    """

    name: str
    created_at: str
    configuration: Mapping[str, Any]
    done: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    resources: Resources | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    emulation: Mapping[str, Any] | None = None
    lease: Lease | None = None
    destroyed_at: str | None = None
    schema_version: int = SCHEMA_VERSION


class Deployment:
    """A deployment's directory, and its state as last saved."""

    def __init__(self, directory: Path, state: State) -> None:
        self.directory = directory
        self.state = state

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def runs(self) -> Path:
        return self.directory / "runs"

    def save(self, **changes: Any) -> None:
        """Replace fields of the state and write it."""
        self.state = replace(self.state, **changes)
        write_json(self.directory / "deployment.json", asdict(self.state))

    def mark_done(self, step: str, seconds: float) -> None:
        """Record that `step` ended well."""
        self.save(done={**self.state.done, step: {"at": now(), "seconds": round(seconds, 3)}})

    def secrets(self) -> dict[str, str]:
        """The generated passwords and keys. Empty before the first deployment step."""
        path = self.directory / "secrets.json"
        return dict(read_json(path)) if path.exists() else {}

    def add_secrets(self, generated: Mapping[str, str]) -> dict[str, str]:
        """Keep what is already there and add what is new; returns all of them."""
        merged = {**generated, **self.secrets()}
        write_json(self.directory / "secrets.json", merged)
        return merged

    def new_run(self) -> Path:
        """Make the directory of a new run: ``runs/<UTC time>-<4 hex>``."""
        while True:
            path = self.runs / f"{stamp()}-{random_source.token_hex(2)}"
            try:
                path.mkdir(parents=True, mode=0o700)
            except FileExistsError:
                continue
            return path

    def last_run(self) -> Path:
        """The newest run. Raises `StateError` when there is none."""
        found = sorted(path for path in self.runs.glob("*") if path.is_dir())
        if not found:
            raise StateError(f"{self.directory.name} has no run yet.\nStart one with `enos_crdb bench keystone`.")
        return found[-1]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the deployment for one command. Raises `StateError` when another process has it."""
        with held(self.directory):
            yield


class Store:
    """All deployments under one directory (``results`` by default)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, name: str, configuration: Mapping[str, Any]) -> Deployment:
        """Make a new deployment's directory and point ``current`` at it."""
        directory = self.root / f"{name}-{stamp()}"
        while directory.exists():
            directory = self.root / f"{name}-{stamp()}-{random_source.token_hex(2)}"
        for part in ("logs", "runs"):
            (directory / part).mkdir(parents=True, mode=0o700)
        directory.chmod(0o700)
        deployment = Deployment(directory, State(name=name, created_at=now(), configuration=configuration))
        deployment.save()
        self.point_at(deployment)
        return deployment

    def point_at(self, deployment: Deployment) -> None:
        """Make `deployment` the current one (the link is replaced atomically)."""
        link = self.root / f".current-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(deployment.directory.name)
        link.replace(self.root / "current")

    def open(self, directory: Path) -> Deployment:
        """Read a deployment's state. Raises `StateError` when it is missing, torn or of a later version."""
        return Deployment(directory, _state(read_json(directory / "deployment.json"), directory))

    def current(self) -> Deployment:
        """The deployment that ``current`` points at. Raises `StateError` when there is none."""
        link = self.root / "current"
        if not (link / "deployment.json").exists():
            raise StateError(
                f"there is no current deployment in {self.root}.\n"
                "Make one with `enos_crdb deploy --env FILE`, or name one with --deployment DIR."
            )
        return self.open(link.resolve())

    def alive(self, name: str) -> Deployment | None:
        """The newest deployment called `name` that was not destroyed."""
        own = re.compile(re.escape(name) + r"-\d{8}T\d{6}Z(-[0-9a-f]{4})?")  # not those of `name`-something
        for path in sorted(self.root.glob(f"{name}-*/deployment.json"), reverse=True):
            if own.fullmatch(path.parent.name):
                deployment = self.open(path.parent)
                if deployment.state.destroyed_at is None:
                    return deployment
        return None


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a directory of the store for this process. Raises `StateError` when another one has it."""
    with (directory / ".lock").open("a+") as stream:
        _lock(stream, directory.name)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def _lock(stream: IO[str], name: str) -> None:
    patience = time.monotonic() + ORPHANS_END_S
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip()
        # Ansible's workers share the lock: after a kill -9 of the engine they hold it until they notice.
        if _alive(holder) or time.monotonic() > patience:
            raise StateError(
                f"{name} is in use by another enos_crdb (process {holder}).\n"
                "Wait for its end, or interrupt it (Ctrl-C there), then try again."
            ) from None
        time.sleep(0.2)


def _alive(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()


def now() -> str:
    """The time, UTC, ISO 8601 to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def stamp() -> str:
    """The time, UTC, for the name of a directory."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def write_text(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace `path` by `text` atomically: never half a file, whatever happens."""
    write_bytes(path, text.encode("utf-8"), mode=mode)


def write_bytes(path: Path, content: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """As `write_text`. Not `durable`: what can be made again need not be on the disk when this returns."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:  # Ctrl-C, too, must not leave half a file
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, atomically, readable by the owner only."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a file of the store. Raises `StateError` when it is missing or torn."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise StateError(
            f"{path} is not valid JSON ({error}).\n"
            "It was changed by hand or by a full disk; enos_crdb itself writes it in one piece."
        ) from None


def append_json(path: Path, value: Any) -> None:
    """Add `value` as one line of JSON, on the disk when this returns."""
    line = json.dumps(value, sort_keys=False) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(line.encode())
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: Path) -> tuple[list[Any], str]:
    """The values of a file of JSON lines, and its last line when that is torn (a crash while it was written).

    Raises `StateError` when another line is not JSON.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    *lines, torn = text.split("\n")
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except ValueError:
            raise StateError(
                f"{path}:{number} is not valid JSON: it was changed by hand. Correct the line, or remove it."
            ) from None
    return values, torn


def _state(document: Any, directory: Path) -> State:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise StateError(
            f"{directory / 'deployment.json'} has schema version {version}, this enos_crdb reads {SCHEMA_VERSION}.\n"
            "Use the version of enos_crdb that made the deployment."
        )
    try:
        resources, lease = document["resources"], document.get("lease")
        return State(
            **{
                **document,
                "resources": _resources(resources) if resources else None,
                "lease": Lease(**{**lease, "jobs": tuple(lease["jobs"])}) if lease else None,
            }
        )
    except (KeyError, TypeError):
        raise StateError(
            f"{directory / 'deployment.json'} does not hold what enos_crdb wrote: it was changed by hand."
        ) from None


def _resources(document: Mapping[str, Any]) -> Resources:
    return Resources(
        hosts=tuple(
            Host(
                **{
                    **host,
                    "roles": tuple(host["roles"]),
                    "system": System(**host["system"]) if host.get("system") else None,
                }
            )
            for host in document["hosts"]
        ),
        networks=tuple(Network(**network) for network in document["networks"]),
    )
