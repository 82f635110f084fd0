"""A private PostgreSQL server for tests: any user, its own directory and port, nothing durable."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from enos_crdb.command import Completed, Runner, SubprocessRunner

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
}


def _bin() -> Path | None:
    """The newest PostgreSQL's programs, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None


def missing_postgresql() -> str | None:
    """Why no server can be started here, or None."""
    if _bin() is None:
        return "PostgreSQL's initdb is not on this machine: apt-get install postgresql"
    if os.geteuid() == 0 and _user() is None:
        return "PostgreSQL refuses to run as root, and there is neither an account `postgres` nor `nobody`"
    return None


def _user() -> str | None:
    """Whom the server runs as when we are root."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


def _group() -> str:
    """The group of `_user`."""
    return grp.getgrgid(pwd.getpwnam(_user() or "root").pw_gid).gr_name


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgreSQL:
    """A server in `directory`, started on entry and gone after exit. User ``postgres``, no password, loopback only.

    Every local user of the machine can connect while it runs: it holds test data only.
    """

    def __init__(
        self, directory: Path, *, settings: Mapping[str, str] | None = None, runner: Runner | None = None
    ) -> None:
        programs = _bin()
        assert programs is not None, missing_postgresql()
        self.directory = directory
        self.port = free_port()
        self._programs = programs
        self._data = directory / "data"
        self._settings = {**SETTINGS, **(settings or {})}
        self._runner = runner or SubprocessRunner()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgreSQL:
        self.directory.mkdir(parents=True)
        self._give_away()
        self._as_user("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync",
                      f"--pgdata={self._data}")  # fmt: skip
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def sockets(self) -> Path:
        """The directory of its unix socket."""
        return self.directory

    def url(self, database: str, *, dialect: str = "postgresql+psycopg2", user: str = "postgres") -> str:
        """SQLAlchemy's URL of `database`."""
        return f"{dialect}://{user}@127.0.0.1:{self.port}/{database}"

    def start(self, timeout_s: float = 60) -> None:
        """Start it (again); returns when it answers. Raises `RuntimeError` with its last words when it does not."""
        options = {**self._settings, "port": str(self.port), "unix_socket_directories": str(self.directory)}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        account: dict[str, Any] = {"user": _user(), "group": _group(), "extra_groups": []} if os.geteuid() == 0 else {}
        with (self._data / "log").open("ab") as log:
            # Our child, in our process group: pg_ctl would make it a daemon that outlives a killed test session.
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), *settings],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **account,
            )
        end = time.monotonic() + timeout_s
        while self._client("pg_isready", "--quiet", check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL does not start: {self.log[-2000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it; SIGQUIT is what a crash looks like, SIGINT is orderly."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(timeout=60)

    def create(self, database: str, *, template: str | None = None, owner: str = "postgres") -> str:
        """Create `database`, as a copy of `template` if given (nobody may be connected to it); returns its URL."""
        copied = f' TEMPLATE "{template}"' if template else ""
        self.sql(f'CREATE DATABASE "{database}" OWNER "{owner}"{copied}')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop `database`, throwing out who is connected; no complaint when it does not exist."""
        self.sql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def sql(self, statement: str, *, database: str = "postgres") -> list[list[str]]:
        """The rows of one statement, as text; fields separated by a tab."""
        done = self._client("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--field-separator=\t",
                            "--set=ON_ERROR_STOP=1", f"--dbname={database}", f"--command={statement}")  # fmt: skip
        return [line.split("\t") for line in done.stdout.splitlines()]

    def schema(self, database: str) -> str:
        """`database`'s schema as pg_dump writes it, without comments, settings, and its nonce."""
        dumped = self._client("pg_dump", "--schema-only", "--no-owner", f"--dbname={database}").stdout
        kept = [line for line in dumped.splitlines() if not re.match(r"--|SET |SELECT pg_catalog\.set_config|\\", line)]
        return re.sub(r"\n{2,}", "\n\n", "\n".join(kept)).strip() + "\n"

    @property
    def log(self) -> str:
        return (self._data / "log").read_text(errors="replace")

    def _client(self, program: str, *arguments: str, check: bool = True) -> Completed:
        connection = (f"--host={self.directory}", f"--port={self.port}", "--username=postgres")
        return self._runner.run([str(self._programs / program), *connection, *arguments], timeout_s=120, check=check)

    def _give_away(self) -> None:
        if os.geteuid() == 0:
            name = _user()
            assert name is not None
            shutil.chown(self.directory, name)
            self.directory.chmod(0o755)

    def _as_user(self, program: str, *arguments: str) -> Completed:
        prefix = ["runuser", f"--user={_user()}", "--"] if os.geteuid() == 0 else []
        return self._runner.run([*prefix, str(self._programs / program), *arguments], cwd=self.directory, timeout_s=120)
