"""Whom Grid'5000 takes us for: EnOSlib's credentials file, ssh keys, and the client of the API."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from enoslib.infra.enos_g5k.g5k_api_utils import get_api_client
from enoslib.infra.enos_g5k.utils import inside_g5k

from enos_crdb.config.g5k import G5k

TIMEOUT_S = 30.0
"""How long one answer of the API may take; the client by itself waits for ever."""


def credentials_file() -> Path:
    """Where python-grid5000 looks for the account."""
    return Path(os.environ.get("HOME") or Path.home()) / ".python-grid5000.yaml"


def inside() -> bool:
    """Whether this machine is in Grid'5000, where the API knows us without a password."""
    return bool(inside_g5k())


def jumps(section: G5k) -> bool:
    """Whether ssh goes through the access machine."""
    return not inside() if section.jump == "auto" else section.jump


def faults(section: G5k) -> list[str]:
    """What is lacking on this machine before Grid'5000 can be asked, a sentence each. The password is in none."""
    return [*_file_faults(credentials_file()), *_key_faults(section)]


def _file_faults(file: Path) -> list[str]:
    said = f"{file}, which holds your Grid'5000 account,"
    if not file.exists():
        if inside():
            return []
        return [f"{said} is missing: write `username: LOGIN` and `password: PASSWORD` into it, and `chmod 600` it."]
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # its text may be the password: it is not repeated
        return [f"{said} cannot be read as YAML: it needs lines like `username: LOGIN` and `password: PASSWORD`."]
    if not isinstance(content, Mapping):
        return [f"{said} must have lines `username: LOGIN` and `password: PASSWORD`."]
    found = [f"{said} lacks {' and '.join(missing)}." for missing in [_lacking(content)] if missing]
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        found.append(f"{said} can be read by others on this machine: `chmod 600 {file}`.")
    return found


def _lacking(content: Mapping[Any, Any]) -> list[str]:
    if content.get("sslcert"):
        return []
    needed = () if inside() and not content.get("username") else ("username", "password")
    return [f"`{key}`" for key in needed if not content.get(key)]


def _key_faults(section: G5k) -> list[str]:
    directory = credentials_file().parent / ".ssh"
    if section.key:
        key = Path(section.key).expanduser()
        if key.is_file() and key.read_text(encoding="utf-8", errors="replace").strip():
            return []
        return [f"g5k.key: {key} is not there, or is empty; name a public key, or leave the option out."]
    if any(path.stat().st_size for path in directory.glob("*.pub") if path.is_file()):
        return []
    return [
        f"There is no public key in {directory}: make one with `ssh-keygen -t ed25519`, and add it to your Grid'5000 "
        "account (https://api.grid5000.fr/ui/account, «SSH keys»)."
    ]


def client() -> Any:
    """The client of the API that EnOSlib uses, too; it gives up on an answer that does not come."""
    api = get_api_client()
    if api.timeout is None:
        api.timeout = TIMEOUT_S
    return api
