"""The PostgreSQL server below the stand-in: Debian's, in a directory of our own, reached through a unix socket."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.doubles.cockroachdb_wire import ConnectionEnded, Wire, messages
from tests.doubles.standin import Stopped

LONGEST_SOCKET_PATH = 90
PARAMETERS = {
    "listen_addresses": "''",
    "fsync": "off",  # what is tried here is killed, never unplugged
    "full_page_writes": "off",
    "shared_buffers": "48MB",
    "max_connections": "400",
    "max_pred_locks_per_transaction": "256",
    "unix_socket_permissions": "0700",
    "log_line_prefix": "'%m [%p] '",
}


def programs() -> Path:
    """Directory of initdb and postgres. Raises `Stopped`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise Stopped("STAND-IN: there is no PostgreSQL on this host: apt-get install postgresql")
    return found[-1].parent


class PostgreSQL:
    """One server and its data; it ends when the thread that started it ends."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "logs" / "postgresql.log"
        near, far = (
            directory,
            Path("/var/tmp") / ("standin-" + hashlib.sha256(str(directory).encode()).hexdigest()[:12]),
        )
        walkable = os.getuid() != 0 or all(
            above.stat().st_mode & 0o001 for above in directory.parents if above.exists()
        )
        self.data = (near if walkable else far) / "postgresql"
        self.sockets = (near if walkable and len(str(near)) < LONGEST_SOCKET_PATH else far) / "socket"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def exists(self) -> bool:
        return (self.data / "complete").exists()

    @property
    def door(self) -> Path:
        """The unix socket."""
        return self.sockets / ".s.PGSQL.5432"

    def create(self) -> None:
        """Make the data directory; ``root`` is the superuser, as in CockroachDB."""
        shutil.rmtree(self.data, ignore_errors=True)
        self._own(self.data)
        command = [f"{programs()}/initdb", f"--pgdata={self.data}", "--username=root", "--auth=trust", "--no-sync"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8"]
        done = subprocess.run(self._ours(command), capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise Stopped(f"STAND-IN: initdb failed: {done.stderr or done.stdout}")
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.writelines(f"{name} = {value}\n" for name, value in PARAMETERS.items())
            settings.write(f"unix_socket_directories = '{self.sockets}'\n")
        (self.data / "complete").touch()

    def start(self, timeout_s: float = 30) -> None:
        """Start and wait until it accepts connections."""
        self._own(self.sockets)
        self._outlive_the_last()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._ours([f"{programs()}/postgres", "-D", str(self.data)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, "NOTIFY_SOCKET": ""},  # READY is ours to say
            )
        deadline = time.monotonic() + timeout_s
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Stopped(f"STAND-IN: PostgreSQL does not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def _outlive_the_last(self, timeout_s: float = 10) -> None:
        """Wait for the server of a node that was killed; what it left behind must not be taken for it."""
        deadline = time.monotonic() + timeout_s
        while self._accepts() and time.monotonic() < deadline:
            time.sleep(0.1)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def connect(self) -> Wire:
        """A new connection, before its startup message. Raises `OSError`."""
        return messages.connect(str(self.door))

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)

    def forget(self) -> None:
        """Remove the data, which were to be in memory."""
        for directory in {self.data, self.sockets}:
            shutil.rmtree(directory, ignore_errors=True)

    def _accepts(self) -> bool:
        try:
            stream = self.connect()
        except OSError:
            return False
        try:
            parameters = messages.encode_parameters({"user": "root", "database": "postgres"})
            stream.send(messages.startup(messages.PROTOCOL_3, parameters))
            return stream.read()[0] == b"R"
        except ConnectionEnded:
            return False
        finally:
            stream.close()

    def _own(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.getuid() == 0:
            owner = _unprivileged()
            os.chown(directory, owner.pw_uid, owner.pw_gid)
            directory.parent.chmod(directory.parent.stat().st_mode | 0o011)  # ours, and PostgreSQL must walk there

    def _ours(self, command: list[str]) -> list[str]:
        """`command` as a user PostgreSQL runs as, and ending with us."""
        become = ["setpriv", "--pdeathsig=QUIT"]
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            owner = _unprivileged()
            become += [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        return [*become, "--", *command]


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Stopped("STAND-IN: neither user postgres nor nobody exists")
