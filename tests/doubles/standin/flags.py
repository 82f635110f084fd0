"""Flags of ``cockroach start`` and their values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

DOCUMENTED = (
    "--advertise-addr", "--advertise-http-addr", "--advertise-sql-addr", "--attrs", "--cache", "--clock-device",
    "--cluster-name", "--external-io-dir", "--http-addr", "--listen-addr", "--listening-url-file", "--locality",
    "--locality-advertise-addr", "--log", "--log-config-file", "--log-dir", "--max-disk-temp-storage",
    "--max-go-memory", "--max-offset", "--max-sql-memory", "--max-tsdb-memory", "--pid-file", "--socket-dir",
    "--spatial-libs", "--sql-addr", "--temp-dir", "--vmodule", "--wal-failover",
)  # fmt: skip
"""Docs: cockroach-start (v25.4), flags that take a value; ``--store`` and ``--join`` stand apart."""

SIZE = r"(\.\d+|\d+(\.\d+)?%|\d+(\.\d+)?\s*([KMGT]i?B|B)?)"
PATTERNS = {
    "--cache": SIZE,
    "--max-sql-memory": SIZE,
    "--max-offset": r"\d+(\.\d+)?(ms|s|us)",
    "--locality": r"[\w.-]+=[\w.-]+(,[\w.-]+=[\w.-]+)*",
    "--external-io-dir": r"/.*|disabled",
    "--listen-addr": r"[^:]*(:\d+)?",
    "--advertise-addr": r"[^:]*(:\d+)?",
    "--http-addr": r"[^:]*(:\d+)?",
}


class BadFlag(Exception):
    """A value CockroachDB would not take either."""


def check(given: Mapping[str, str]) -> None:
    """Raise `BadFlag` for a value of the wrong form."""
    for flag, pattern in PATTERNS.items():
        if given[flag] and not re.fullmatch(pattern, given[flag]):
            raise BadFlag(f'invalid argument "{given[flag]}" for "{flag}" flag')


def store(spec: str) -> tuple[Path, bool]:
    """Path of a store, and whether it is in memory (docs: cockroach-start, "Store").

    Raises `BadFlag`: in memory a size is needed and a path is not allowed.
    """
    fields = dict(part.partition("=")[::2] for part in spec.split(",")) if "=" in spec else {"path": spec}
    unknown = set(fields) - {"path", "type", "size", "attrs", "ballast-size", "provisioned-rate", "pebble"}
    if unknown:
        raise BadFlag(f"{unknown.pop()} is not a valid store field")
    if "size" in fields and not re.fullmatch(SIZE, fields["size"]):
        raise BadFlag(f"could not parse store size ({fields['size']})")
    if fields.get("type") == "mem":
        if "path" in fields:
            raise BadFlag("path specified for in memory store")
        if "size" not in fields:
            raise BadFlag("size must be specified for an in memory store")
        return Path(), True
    if "path" not in fields:
        raise BadFlag("no path specified")
    return Path(fields["path"]), False


def logs(spec: str, store: Path) -> Path:
    """Directory of the log files (docs: configure-logs, ``dir``); beside the data when ``--log`` names none."""
    found = re.search(r"\bdir:\s*([^\s,}]+)", spec)
    return Path(found[1]) if found else store / "logs"
