"""What was asked, and what the server says of it: the same, or not.

A server shows ``64MB`` as ``61 MiB`` and ``90s`` as ``00:01:30``: values are compared by what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

TRUE, FALSE = ("true", "on", "yes", "t"), ("false", "off", "no", "f")
UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
SIZES.update({"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40})
NUMBER = r"[-+]?\d+(?:\.\d+)?"


def boolean(text: str) -> bool | None:
    return True if text in TRUE else False if text in FALSE else None


def number(text: str) -> float | None:
    return float(text) if re.fullmatch(NUMBER, text) else None


def duration_s(text: str) -> float | None:
    """``1h30m``, ``500ms`` or ``01:30:00.5`` in seconds."""
    if clock := re.fullmatch(r"(?:(\d+) days? )?(\d+):(\d\d):(\d\d(?:\.\d+)?)", text):
        days, hours, minutes, seconds = clock.groups()
        return int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if re.fullmatch(rf"(?:{NUMBER}(?:ns|us|µs|ms|s|m|h))+", text):
        parts = re.findall(rf"({NUMBER})(ns|us|µs|ms|s|m|h)", text)
        return float(sum(float(value) * UNITS_S[unit] for value, unit in parts))
    return None


def size(text: str) -> float | None:
    found = re.fullmatch(rf"({NUMBER})\s*([kmgt]?i?b)", text)
    return float(found[1]) * SIZES[found[2]] if found else None


def same(asked: Any, shown: str) -> bool:
    """Whether the server's `shown` means what was `asked`."""
    left, right = normal(asked), normal(shown)
    if left == right:
        return True
    if boolean(left) is not None:
        return boolean(left) == boolean(right)
    for reading, tolerance in READINGS:
        first, second = reading(left), reading(right)
        if first is not None and second is not None:
            return abs(first - second) <= tolerance * max(abs(first), abs(second))
    seconds, milliseconds = duration_s(left), number(right)  # session variables show their timeouts in milliseconds
    return seconds is not None and milliseconds is not None and abs(seconds * 1000 - milliseconds) < 1e-6


READINGS: tuple[tuple[Callable[[str], float | None], float], ...] = (
    (number, 1e-9),
    (duration_s, 1e-9),
    (size, 0.06),  # shown to two digits only
    (lambda text: number(text) if number(text) is not None else size(text), 0.06),
)


def normal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(str(value).split()).lower()


def zone(raw: str) -> dict[str, str]:
    """The fields of what ``SHOW ZONE CONFIGURATION`` calls ``raw_config_sql``, without their quotes."""
    fields = re.findall(r"(?m)^\s*([a-z_.]+) = ('(?:[^']|'')*'|[^,\n]+),?\s*$", raw)
    return {name: value.strip().strip("'") for name, value in fields}


def same_zone_field(asked: str, shown: str) -> bool:
    """Whether two fields of a zone agree; spaces and quotes inside of them are the server's taste."""
    bare = re.compile(r"[\s'\"]")
    return bare.sub("", asked) == bare.sub("", shown)
