"""What the lock files pin."""

from __future__ import annotations

import re

from packaging.requirements import Requirement

from enos_crdb import locks, shipped

DIRECTORY = shipped.directory("playbooks") / "locks"


def pins(name: str) -> dict[str, list[Requirement]]:
    """Distribution -> its pins (several when Pythons need different versions)."""
    found: dict[str, list[Requirement]] = {}
    for line in locks.lock_file(DIRECTORY, name).read_text().splitlines():
        if re.match(r"[a-z]", line):
            requirement = Requirement(line.rstrip(" \\"))
            found.setdefault(requirement.name, []).append(requirement)
    return found
