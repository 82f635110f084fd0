"""A node: ``cockroach start`` and ``cockroach start-single-node``."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.doubles.cockroachdb_wire import ConnectionEnded, Wire, messages
from tests.doubles.cockroachdb_wire.opening import intruder, names_shown, opening
from tests.doubles.standin import Stopped, peers
from tests.doubles.standin.console import Console
from tests.doubles.standin.gateway import Gateway
from tests.doubles.standin.members import Members, now
from tests.doubles.standin.postgres import PostgreSQL
from tests.doubles.standin.trust import CertificateError, Trust, Unreachable, host_and_port

HEARTBEAT_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line of a node says."""

    version: str
    store: Path
    in_memory: bool
    trust: Trust
    listen: str
    advertise: str
    http: str
    join: tuple[str, ...]
    locality: str
    single: bool
    logs: Path | None = None
    url_file: Path | None = None
    pid_file: Path | None = None


class Node:
    """A running node. The thread that calls `run` owns PostgreSQL."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.trust = settings.trust
        self.counters: Counter[str] = Counter()
        self.started_at = now()
        self.began_s = time.monotonic()
        self.id: int | None = None
        self.cluster_id = ""
        self.leader = ""
        self.members: Members | None = None
        self.postgres = PostgreSQL(settings.store)
        self.seen: list[dict[str, Any]] = []
        self.heard_s = -1e9
        self.draining = False
        self._jobs: queue.Queue[queue.Queue[str]] = queue.Queue()
        self._over = threading.Event()
        self.sql_open = threading.Event()  # on the node that has PostgreSQL
        self._tls = settings.trust.server()

    # --- life ---

    def run(self) -> None:
        """Serve until a signal ends it. Raises `Stopped`, `CertificateError`."""
        settings = self.settings
        if settings.logs is not None:
            settings.logs.mkdir(parents=True, exist_ok=True)
        self.trust.check_node()
        self._open_store()
        listener = _listen(settings.listen)
        self.address = _advertised(settings.advertise or settings.listen, listener)
        self.gateway = Gateway(self)
        console = Console(self, settings.http)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._over.set())
        threading.Thread(target=self._belong, daemon=True).start()
        if self.members is not None:
            self._lead()
        elif settings.single:
            self._bootstrap()
        self._announce(console)
        while not self._over.is_set():
            with contextlib.suppress(queue.Empty):
                self._answer(self._jobs.get(timeout=0.1))
        self._leave()

    def _answer(self, job: queue.Queue[str]) -> None:
        try:
            self._bootstrap()
            job.put("")
        except (Stopped, OSError) as error:
            shutil.rmtree(self.postgres.data, ignore_errors=True)
            job.put(str(error))

    def _open_store(self) -> None:
        store = self.settings.store
        if self.settings.in_memory:
            shutil.rmtree(store, ignore_errors=True)
        store.mkdir(parents=True, exist_ok=True)
        if (store / "cluster.json").exists():
            self.members = Members(store / "cluster.json")
        if (store / "node.json").exists():
            kept = json.loads((store / "node.json").read_text())
            self.id, self.cluster_id, self.leader = kept["id"], kept["cluster_id"], kept["leader"]

    def _announce(self, console: Console) -> None:
        settings = self.settings
        scheme = "sslmode=disable" if self.trust.directory is None else "sslmode=verify-full"
        url = f"postgresql://root@{self.address}/defaultdb?{scheme}"
        if settings.url_file:
            settings.url_file.write_text(url + "\n")
        if settings.pid_file:
            settings.pid_file.write_text(f"{os.getpid()}\n")
        lines = {
            "build": f"STAND-IN {settings.version}",
            "webui": console.url,
            "sql": url,
            "status": "initialized" if self.members or self.id else "waiting for cluster initialization",
        }
        text = "".join(f"{name + ':':<12}{value}\n" for name, value in lines.items())
        print(f"CockroachDB node starting (STAND-IN: not CockroachDB)\n{text}", flush=True)
        self.log("I", f"node startup completed (STAND-IN: not CockroachDB): {lines['status']}")
        notify("READY=1")

    def log(self, severity: str, text: str) -> None:
        """Write a line to the log, in the form of CockroachDB's (docs: log-formats, crdb-v2)."""
        if self.settings.logs is not None:
            when = datetime.now(timezone.utc).strftime("%y%m%d %H:%M:%S.%f")
            with (self.settings.logs / "cockroach.log").open("a") as stream:
                stream.write(f"{severity}{when} 1 stand-in \u22ee [n{self.id or '?'}] 1  {text}\n")

    def _leave(self) -> None:
        """Drain and go: no new connections are wanted, PostgreSQL stops before we do."""
        self.draining = True
        notify("STOPPING=1")
        self.log("I", "initiating graceful shutdown of server")
        if self.members is None and self.id is not None:
            with contextlib.suppress(Unreachable, peers.Refused, CertificateError):
                peers.call(self.leader, self.trust, {"call": "leave", "id": self.id}, timeout_s=1)
        self.gateway.close()
        self.postgres.stop()
        if self.settings.in_memory:
            shutil.rmtree(self.settings.store, ignore_errors=True)
            self.postgres.forget()

    # --- the cluster ---

    @property
    def initialised(self) -> bool:
        return self.id is not None

    @property
    def in_touch(self) -> bool:
        """Whether this node is live for the others."""
        if self.members is not None:
            return self.initialised and self.sql_open.is_set()  # after a kill PostgreSQL recovers first
        return self.initialised and time.monotonic() - self.heard_s < 2 * HEARTBEAT_S + 1

    def initialise(self) -> str:
        """``cockroach init``: what went wrong, or nothing."""
        if self.initialised:
            return "cluster has already been initialized"
        done: queue.Queue[str] = queue.Queue()
        self._jobs.put(done)
        return done.get(timeout=120)

    def others(self) -> list[str]:
        return [address for address in self.settings.join if host_and_port(address) != host_and_port(self.address)]

    def _bootstrap(self) -> None:
        self.postgres.create()
        members = Members(self.settings.store / "cluster.json")
        members.found()
        members.join(None, self._about())
        self.cluster_id, self.leader = members.cluster_id, self.address
        self.members = members
        if self.settings.single:
            members.set_zone("RANGE default", {"num_replicas": "1"})
        self._start_sql()
        for name in ("defaultdb", "system"):
            self.gateway.ask(f"CREATE DATABASE {name}", database="postgres")
        self.id = 1
        self._keep()

    def _lead(self) -> None:
        """After a restart: the data are here."""
        assert self.members is not None
        assert self.id is not None
        self.cluster_id = self.members.cluster_id
        self.members.join(self.id, self._about())
        self._start_sql()

    def _start_sql(self) -> None:
        self.postgres.start()
        self.sql_open.set()

    def _about(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "address": self.address,
            "http": settings.http,
            "locality": settings.locality,
            "build": settings.version,
            "started_at": self.started_at,
        }

    def _keep(self) -> None:
        kept = {"id": self.id, "cluster_id": self.cluster_id, "leader": self.leader}
        (self.settings.store / "node.json").write_text(json.dumps(kept))

    def _belong(self) -> None:
        """Join, then be heard of, for ever."""
        while not self._over.is_set():
            if self.members is not None:
                self.members.hear(self.id or 1, draining=self.draining)
                self.seen, self.heard_s = self.members.table(), time.monotonic()
            elif self.id is not None:
                self._heartbeat()
            else:
                self._try_to_join()
            self._over.wait(HEARTBEAT_S)

    def _heartbeat(self) -> None:
        request = {"call": "heartbeat", "id": self.id, "cluster_id": self.cluster_id, "about": self._about()}
        try:
            self.seen = peers.call(self.leader, self.trust, request, timeout_s=2)
            self.heard_s = time.monotonic()
        except (Unreachable, CertificateError):
            return
        except peers.Refused as error:
            if "belongs to cluster" in str(error):
                self._die(str(error))

    def _try_to_join(self) -> None:
        for address in self.others():
            try:
                about = peers.call(address, self.trust, {"call": "who"}, timeout_s=2)
                if not about["leader"] or self.id is not None or self.members is not None:
                    continue
                request = {"call": "join", "about": self._about()}
                given = peers.call(about["leader"], self.trust, request, timeout_s=2)
            except (Unreachable, peers.Refused, CertificateError) as error:
                self.log("W", f"join: {address}: {error}")
                continue
            self.cluster_id, self.leader, self.id = given["cluster_id"], about["leader"], given["id"]
            self._keep()
            self.log("I", f"joined the cluster as node {self.id}")
            return

    def _die(self, why: str) -> None:
        self.log("F", why)
        print(f"ERROR: {why}", file=sys.stderr, flush=True)
        os._exit(1)

    # --- the port ---

    def _accept(self, listener: socket.socket) -> None:
        while not self._over.is_set():
            connection, _ = listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """One connection: TLS if it is wanted, then a call or SQL."""
        stream = Wire(connection)
        try:
            connection.settimeout(10)
            stream, code, body = opening(stream, self._tls)
            stream.socket.settimeout(None)
            self._dispatch(stream, code, body)
        except (ConnectionEnded, OSError) as error:
            self.log("I", f"connection ended: {error}")
        finally:
            stream.close()

    def _dispatch(self, stream: Wire, code: int, body: bytes) -> None:
        if code == peers.CALL:
            names = names_shown(stream)
            if self._tls is not None and not names & {"node", "root"}:
                who = ", ".join(sorted(names)) or "without a certificate"
                peers.refuse(stream, f"user {who} is not allowed to perform this RPC")
            else:
                self._called(stream, json.loads(body))
        elif code == messages.PROTOCOL_3:
            parameters = messages.parse_parameters(body)
            problem = intruder(stream, parameters.get("user", ""), self._tls)
            if problem is None:
                self.gateway.serve(stream, parameters)
            else:
                stream.send(messages.error(problem.sqlstate, problem.message, severity="FATAL"))

    def _called(self, stream: Wire, request: dict[str, Any]) -> None:
        match request["call"]:
            case "who":
                peers.reply(stream, {"id": self.id, "leader": self.leader, "cluster_id": self.cluster_id})
            case "init":
                why = self.initialise()
                peers.refuse(stream, why) if why else peers.reply(stream, {})
            case "status":
                if not self.initialised:
                    peers.refuse(stream, "node is waiting for cluster initialization")
                elif not self.in_touch:
                    peers.refuse(stream, "node is not healthy")
                else:
                    peers.reply(stream, self.seen)
            case "sql" if self.members is not None:
                peers.reply(stream, {})
                self.gateway.serve_sql(stream, request["startup"], request["node"])
            case "join" | "heartbeat" | "leave" if self.members is not None:
                self._member_called(self.members, stream, request)
            case other:
                peers.refuse(stream, f"{other}: not here")

    def _member_called(self, members: Members, stream: Wire, request: dict[str, Any]) -> None:
        if request["call"] == "join":
            number = members.join(None, request["about"])
            peers.reply(stream, {"id": number, "cluster_id": members.cluster_id})
        elif request["call"] == "leave":
            members.forget(request["id"])
            peers.reply(stream, {})
        elif request["cluster_id"] != members.cluster_id:
            peers.refuse(
                stream,
                f"node belongs to cluster {request['cluster_id']} but is attempting to connect to {members.cluster_id}",
            )
        else:
            if members.members[request["id"]].started_at != request["about"]["started_at"]:
                members.join(request["id"], request["about"])
            members.hear(request["id"])
            peers.reply(stream, members.table())


def notify(text: str) -> None:
    """sd_notify(3)."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.connect("\0" + address[1:] if address.startswith("@") else address)
            door.sendall(text.encode())


def _listen(address: str) -> socket.socket:
    host, port = host_and_port(address)
    try:
        return socket.create_server((host if address.rpartition(":")[0] else "", port), backlog=256)
    except OSError as error:
        raise Stopped(f"cannot listen: listen tcp {address}: bind: {error.strerror}") from error


def _advertised(address: str, listener: socket.socket) -> str:
    host, port = host_and_port(address)
    return f"{host}:{port or listener.getsockname()[1]}"
