"""Options of a server that pass through the deployment file as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Settings = dict[str, str | int | float | bool]


def refuse_unsafe(values: Mapping[str, Any], pattern: str, own: Mapping[str, str]) -> None:
    """Raise `ValueError` for a name that is none, one that another key decides (``own`` says which), or two lines."""
    for name, value in values.items():
        if not re.fullmatch(pattern, name):
            raise ValueError(f"'{name}' is not the name of an option: it has letters, digits, '_', '-' and '.' only")
        if decided := own.get(name.lower().replace("-", "_")):
            raise ValueError(f"'{name}' is decided by {decided}; leave it out here")
        if re.search(r"[\n\r]", str(value)):
            raise ValueError(f"the value of '{name}' must be on one line")
