"""CockroachDB servers on this machine's loopback, with the flags that the Ansible role gives them."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils
import ansible.modules

from enos_crdb import certificates
from enos_crdb.command import SubprocessRunner
from enos_crdb.errors import CommandError
from tests.cockroach.verdicts import Executable
from tests.keystone.postgresql import free_port

ROLE = Path(__file__).resolve().parents[2] / "playbooks" / "roles" / "cockroachdb"
REGIONS = {"one": "paris", "two": "nantes", "three": "lyon"}
START_S = 120.0


def describe(path: str) -> Executable:
    """What ``PATH version`` says; empty where it does not."""
    try:
        text = SubprocessRunner().run([path, "version"], timeout_s=60, check=False).stdout
    except CommandError:
        text = ""
    found = dict(re.findall(r"^(Build Tag|Distribution):\s*(.+?)\s*$", text, re.MULTILINE))
    return Executable(path=path, build_tag=found.get("Build Tag", ""), distribution=found.get("Distribution", ""))


def role_module(kind: str, name: str) -> ModuleType:
    """A Python file of the Ansible role: its own code talks to the server, not a copy of it."""
    for package, directory in ((ansible.module_utils, "module_utils"), (ansible.modules, "library")):
        if str(ROLE / directory) not in package.__path__:
            package.__path__.append(str(ROLE / directory))  # where Ansible looks for a role's modules, too
    return importlib.import_module(f"ansible.{'module_utils' if kind == 'module_utils' else 'modules'}.{name}")


class Notifications:
    """A socket such as systemd gives a unit of type ``notify``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def ready_within(self, seconds: float) -> bool:
        """Whether READY=1 arrives in time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in self._socket.recv(4096):
                    return True
        return False

    def close(self) -> None:
        self._socket.close()


@dataclass
class Node:
    """One server process. ``certificates`` empty: insecure."""

    name: str
    executable: str
    directory: Path
    flags: Sequence[str] = ()
    certificates: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Any:
        """The Ansible role's own client of this node."""
        module = role_module("module_utils", "cockroachdb_client")
        module.BINARY = self.executable  # type: ignore[attr-defined]
        return module.Client("127.0.0.1", self.port, self.http_port, self.certificates)

    def url(self, database: str, user: str = "keystone") -> str:
        """SQLAlchemy's URL, as the backend writes it."""
        options = "sslmode=disable"
        if self.certificates:
            directory = self.certificates
            options = f"sslmode=verify-full&sslrootcert={directory}/ca.crt"
            options += f"&sslcert={directory}/client.{user}.crt&sslkey={directory}/client.{user}.key"
        return f"cockroachdb+psycopg2://{user}@127.0.0.1:{self.port}/{database}?{options}"

    def start(self, command: str, *more: str) -> None:
        """Start the process; it may not answer yet."""
        self.directory.mkdir(parents=True, exist_ok=True)
        login = f"--certs-dir={self.certificates}" if self.certificates else "--insecure"
        flags = [
            f"--listen-addr=127.0.0.1:{self.port}",
            f"--advertise-addr=127.0.0.1:{self.port}",
            f"--http-addr=127.0.0.1:{self.http_port}",
            f"--external-io-dir={self.directory / 'extern'}",
            "--cache=128MiB",
            "--max-sql-memory=128MiB",
            f"--log={{file-defaults: {{dir: {self.directory / 'logs'}}}}}",
        ]
        with (self.directory / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.executable, command, login, *flags, *self.flags, *more],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "COCKROACH_SKIP_ENABLING_DIAGNOSTIC_REPORTING": "true", **self.environment},
            )

    def wait_ready(self, seconds: float = START_S) -> None:
        """Wait until it takes connections. Raises `RuntimeError`, with its last words, when it ends or never does."""
        end = time.monotonic() + seconds
        while not self.client.ready():
            ended = self.process is None or self.process.poll() is not None
            if ended or time.monotonic() > end:
                raise RuntimeError(f"{self.name} {'ended' if ended else 'is not ready'}: {self.said}")
            time.sleep(0.2)

    @property
    def said(self) -> str:
        return (self.directory / "output.log").read_text(errors="replace")[-3000:]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process and wait for it."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=30)


@contextlib.contextmanager
def single_node(executable: str, directory: Path) -> Iterator[Node]:
    """An insecure server of one node, its data in memory."""
    flags = ("--store=type=mem,size=1024MiB", "--locality=region=paris,zone=one")
    node = Node(name="single", executable=executable, directory=directory, flags=flags)
    node.start("start-single-node")
    try:
        node.wait_ready()
        yield node
    finally:
        node.stop()


@dataclass
class Cluster:
    """Three nodes with certificates, and what was seen while they were started."""

    nodes: dict[str, Node]
    ready_before_init: bool
    health_before_init: int
    second_init: str

    @property
    def first(self) -> Node:
        return self.nodes["one"]

    def restart(self, name: str) -> None:
        """Start a node that was killed, with the data it had."""
        self.nodes[name].start("start", _joined(self.nodes))
        self.nodes[name].wait_ready()


@contextlib.contextmanager
def three_nodes(executable: str, directory: Path) -> Iterator[Cluster]:
    """Three nodes with certificates in three regions, initialised."""
    authority = certificates.authority()
    nodes = {name: _node(name, region, executable, directory, authority) for name, region in REGIONS.items()}
    bell = Notifications(directory / "n")
    nodes["one"].environment = {"NOTIFY_SOCKET": str(bell.path)}
    try:
        for node in nodes.values():
            node.start("start", _joined(nodes))
        rung = bell.ready_within(30)
        health = nodes["one"].client.get("/health?ready=1")[0]
        _init(nodes["one"])
        for node in nodes.values():
            node.wait_ready()
        yield Cluster(nodes=nodes, ready_before_init=rung, health_before_init=health, second_init=_init(nodes["one"]))
    finally:
        for node in nodes.values():
            node.stop(signal.SIGKILL)
        bell.close()


def _joined(nodes: Mapping[str, Node]) -> str:
    return "--join=" + ",".join(f"127.0.0.1:{node.port}" for node in nodes.values())


def _node(name: str, region: str, executable: str, directory: Path, authority: certificates.Pair) -> Node:
    keys = directory / f"certificates-{name}"
    keys.mkdir(parents=True)
    pairs = {"node": certificates.for_node(authority, (name, "localhost", "127.0.0.1"))}
    pairs |= {f"client.{user}": certificates.for_user(authority, user) for user in ("root", "keystone")}
    (keys / "ca.crt").write_text(authority.certificate)
    for file, pair in pairs.items():
        (keys / f"{file}.crt").write_text(pair.certificate)
        (keys / f"{file}.key").touch(mode=0o600)
        (keys / f"{file}.key").write_text(pair.key)
    flags = (f"--store=path={directory / name / 'data'}", f"--locality=region={region},zone={name}")
    return Node(name=name, executable=executable, directory=directory / name, flags=flags, certificates=str(keys))


def _init(node: Node) -> str:
    """What `init` says: nothing when it made a cluster."""
    refused = role_module("module_utils", "cockroachdb_client").Refused
    end = time.monotonic() + START_S
    while True:
        try:
            node.client.run("init")
            return ""
        except refused as refusal:
            if "already" in str(refusal) or time.monotonic() > end:
                return str(refusal)
            time.sleep(0.5)
