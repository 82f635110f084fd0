"""From a YAML file and ``--set`` options to a checked `Configuration`, offline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from enos_crdb.config.complaints import complain
from enos_crdb.config.experiment import Configuration
from enos_crdb.errors import ConfigurationError


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice (PyYAML would keep the last one without a word)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(getattr(key_node, "value", key_node))
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is given twice in one mapping", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load(path: Path, overrides: Sequence[str] = ()) -> Configuration:
    """Read, override and check the experiment file.

    ``overrides`` are ``path=value`` strings, the path dotted (``machines.0.count=3``), the value YAML.
    Raises `ConfigurationError` with every problem found, each with its key path and what is allowed.
    """
    document, lines = _read(path)
    for override in overrides:
        _apply(document, override)
    return check(document, source=str(path), lines=lines)


def check(document: Mapping[str, Any], *, source: str, lines: Mapping[str, int] | None = None) -> Configuration:
    """Check a document that is already in memory. Raises `ConfigurationError`."""
    try:
        return Configuration.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(complain(error, source=source, lines=lines or {})) from None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise ConfigurationError(
            f"{path} is a directory. --env takes an experiment file (YAML), not EnOSlib's environment directory."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}).\n"
            "Give --env the path of an experiment file; `enos_crdb configs` lists those that are shipped."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}).") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path}{where}: not valid YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}.") from None
    if not isinstance(document, dict):
        found = "nothing" if document is None else f"a {type(document).__name__}"
        raise ConfigurationError(f"{path}: expected a mapping of sections (name, provider, ...), found {found}.")
    return document, dict(_lines(node, ()))


def _lines(node: yaml.Node | None, path: tuple[str, ...]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            found.append((".".join(below), key.start_mark.line + 1))
            found.extend(_lines(value, below))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            below = (*path, str(index))
            found.append((".".join(below), value.start_mark.line + 1))
            found.extend(_lines(value, below))
    return found


def _apply(document: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    path = [part for part in re.split(r"[.\[\]]+", dotted.strip()) if part]
    if not equals or not path:
        raise ConfigurationError(
            f"--set {override}: expected path=value, for instance --set database.max_connections=200."
        )
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise ConfigurationError(f"--set {override}: the value is not valid YAML.") from None
    target: Any = document
    for part in path[:-1]:
        target = _descend(target, part, override)
    _assign(target, path[-1], value, override)


def _descend(target: Any, part: str, override: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, part, override)]
    below = target.setdefault(part, {})
    if not isinstance(below, dict | list):
        raise ConfigurationError(
            f"--set {override}: '{part}' is {below!r}, a single value; nothing can be set below it."
        )
    return below


def _assign(target: Any, part: str, value: Any, override: str) -> None:
    if isinstance(target, list):
        target[_index(target, part, override)] = value
    else:
        target[part] = value


def _index(target: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(target):
        raise ConfigurationError(
            f"--set {override}: '{part}' does not name an entry of a list of {len(target)}; "
            f"use a number from 0 to {len(target) - 1}."
        )
    return int(part)
