"""The double: it listens, serves each connection in a thread, counts and logs."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from . import messages
from .faults import Faults, Injector
from .messages import Address, ConnectionEnded, Wire
from .session import Responder, Session
from .versions import Version


class Double:
    """A PostgreSQL that behaves like `version` of CockroachDB to those who connect here.

    ``listen``: host and port, 0 for a free one. ``log``: a file of JSON lines; without ``log_statements`` only faults,
    refusals, and what became of sessions.
    """

    def __init__(
        self,
        *,
        backend: Address,
        version: Version | str,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        faults: Faults | None = None,
        log: Path | None = None,
        log_statements: bool = False,
    ) -> None:
        self.version = Version.parse(version) if isinstance(version, str) else version
        self.injector = Injector(faults or Faults())
        self.address = listen
        self._backend = backend
        self._log_path, self._log_statements = log, log_statements
        self._log: IO[str] | None = None
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._numbers = itertools.count(1)
        self._sessions: dict[Session, threading.Thread] = {}
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    def start(self) -> Double:
        """Listen; returns when connections are accepted."""
        host, _ = self.address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server(self.address, family=family, backlog=128)
        self.address = (host, self._listener.getsockname()[1])
        if self._log_path is not None:
            self._log = self._log_path.open("a")
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Close everything; returns when all threads have ended."""
        if self._listener is not None:
            # close() alone does not wake accept()
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        if self._acceptor is not None:
            self._acceptor.join(timeout=10)
        with self._lock:
            sessions = dict(self._sessions)
        for session, thread in sessions.items():
            session.close()
            thread.join(timeout=10)
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Double:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def statistics(self) -> dict[str, dict[str, int]]:
        """What happened so far.

        ``messages``: queries by group (statements, begins, commits, rollbacks, pings, batches), and sessions,
        autocommits, rewritten and answered ones, genuine_retries (40001 of PostgreSQL itself). ``injected`` by
        fault, ``spared`` by READ COMMITTED, ``refused`` by rule, ``lost``: sessions whose
        backend ended, by what the client had asked last: COMMIT of a transaction, or anything else.
        """
        with self._lock:
            groups = ("messages", "injected", "spared", "refused", "lost")
            return {group: dict(sorted(self._counts.get(group, Counter()).items())) for group in groups}

    def reset(self) -> None:
        """Forget the statistics; what is injected goes on where it was."""
        with self._lock:
            self._counts.clear()

    def serve(self, client: Wire, parameters: Mapping[str, str], responder: Responder) -> None:
        """Serve a client that did not connect here, until it goes.

        Its connection is open and its user is who ``parameters`` say. `responder` is asked first about each statement.
        """
        session = Session(next(self._numbers), client, self, responder)
        with self._lock:
            self._sessions[session] = threading.current_thread()
        self._run(session, parameters)

    # For sessions

    def connect(self) -> Wire:
        try:
            return messages.connect(self._backend)
        except OSError as error:
            raise ConnectionEnded(f"no backend at {self._backend}: {error}") from error

    def count(self, group: str, name: str) -> None:
        with self._lock:
            self._counts.setdefault(group, Counter())[name] += 1

    def log(self, session: int, **what: object) -> None:
        if self._log is None or ("event" not in what and not self._log_statements):
            return
        line = json.dumps({"time": round(time.time(), 4), "session": session, **what})
        with self._lock:
            if not self._log.closed:
                self._log.write(line + "\n")
                self._log.flush()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return  # stopped
            session = Session(next(self._numbers), Wire(stream), self)
            thread = threading.Thread(target=self._run, args=(session,), daemon=True)
            with self._lock:
                self._sessions[session] = thread
            thread.start()

    def _run(self, session: Session, parameters: Mapping[str, str] | None = None) -> None:
        try:
            session.run(parameters)
        finally:
            with self._lock:
                self._sessions.pop(session, None)
