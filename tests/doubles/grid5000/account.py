"""A Grid'5000 account on this machine: a home directory, and the environment of a process that uses it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.doubles.grid5000 import patience


@dataclass(frozen=True, kw_only=True)
class Account:
    """The user of the API. ``home`` becomes ``$HOME`` of processes."""

    home: Path
    url: str
    username: str = "jdoe"
    password: str = "correct-horse"

    def create(self) -> Account:
        """Write credentials and an ssh key, as somebody does who just got his account."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.write_credentials()
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        if not self.key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        return self

    def write_credentials(self, **changed: object) -> None:
        """Write ``~/.python-grid5000.yaml``; a value of ``None`` leaves its key out."""
        values = {"uri": self.url, "username": self.username, "password": self.password, **changed}
        lines = [f"{name}: {json.dumps(value)}\n" for name, value in values.items() if value is not None]
        self.credentials.write_text("".join(lines))
        self.credentials.chmod(0o600)

    @property
    def credentials(self) -> Path:
        return self.home / ".python-grid5000.yaml"

    @property
    def key(self) -> Path:
        return self.home / ".ssh/id_ed25519"

    def environment(self, *, ssh_config: Path | None = None, patient: bool = False) -> dict[str, str]:
        """Variables to add to a process's own; `patient` keeps EnOSlib's real waits."""
        variables = {"HOME": str(self.home), "USER": self.username}
        if ssh_config is not None:
            variables["ENOS_CRDB_SSH_CONFIG"] = str(ssh_config)
        if not patient:
            others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
            variables["PYTHONPATH"] = os.pathsep.join([str(patience.DIRECTORY), *others])
        return variables
