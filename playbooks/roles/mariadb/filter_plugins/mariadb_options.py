"""Filters of the Ansible role: what a server was asked to run with against what it says it runs with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_SIZE = re.compile(r"(\d+)([kmgt])", re.IGNORECASE)
_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SWITCHES = {"on": "1", "true": "1", "yes": "1", "off": "0", "false": "0", "no": "0"}


def variables(shown: str) -> dict[str, str]:
    """What ``SHOW GLOBAL VARIABLES`` printed (name, tab, value per line), by name."""
    rows = (line.partition("\t") for line in shown.splitlines())
    return {name: value for name, _, value in rows if name}


def canonical(value: Any) -> str:
    """One spelling per value: ``True``, ``ON`` and ``1`` are the same, ``64M`` is ``67108864``."""
    text = str(value).strip().lower()
    if size := _SIZE.fullmatch(text):
        return str(int(size[1]) * _FACTORS[size[2]])
    try:
        number = float(text)
    except ValueError:
        return _SWITCHES.get(text, text)
    return str(int(number)) if number.is_integer() else str(number)


def _provider_options(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(";"))
    return {name.strip(): canonical(value) for name, _, value in pairs if name.strip()}


def _same(name: str, asked: Any, live: str) -> bool:
    if name == "wsrep_provider_options":  # the server adds the hundred that were not asked
        return _provider_options(str(asked)).items() <= _provider_options(live).items()
    return canonical(asked) == canonical(live)


def differences(asked: Mapping[str, Any], shown: str) -> list[str]:
    """One sentence per option that the server does not run with.

    Options that are no variable (``plugin_load_add``) cannot be compared: a server that does not know
    one does not start.
    """
    live = variables(shown)
    found = []
    for option, value in sorted(asked.items()):
        name = option.replace("-", "_").lower().removeprefix("loose_")
        if name in live and not _same(name, value, live[name]):
            found.append(f"{name} is {live[name]!r}, not {value!r}")
    return found


def values(shown: str, asked: Mapping[str, Any]) -> dict[str, str]:
    """Live values of the options that were asked."""
    live = variables(shown)
    names = (option.replace("-", "_").lower() for option in sorted(asked))
    return {name: live[name] for name in names if name in live}


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "mariadb_differences": differences,
            "mariadb_values": values,
        }
