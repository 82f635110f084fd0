"""From a YAML file and ``--set`` options to a checked `Configuration`, offline."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from enos_crdb import shipped
from enos_crdb.config.complaints import complain
from enos_crdb.config.document import Configuration
from enos_crdb.errors import ConfigurationError


def load(path: Path, overrides: Sequence[str] = ()) -> Configuration:
    """Read, override and check the deployment file; a bare name that is no file here means the shipped one.

    ``overrides`` are ``path=value`` strings, the path dotted (``machines.0.count=3``), the value YAML.
    Raises `ConfigurationError` with every problem found, each with its key path and what is allowed.
    """
    path = _or_shipped(path)
    document, places = read(path)
    for item in overrides:
        apply(document, item, places)
    return check(document, source=str(path), places=places)


def _or_shipped(path: Path) -> Path:
    """`path`, or the shipped file of that name when there is none here (``--env g5k.yaml``)."""
    candidate = shipped.directory("configs") / path.name
    return candidate if str(path) == path.name and not path.exists() and candidate.is_file() else path


def check(document: Mapping[str, Any], *, source: str, places: Mapping[str, str] | None = None) -> Configuration:
    """Check a document that is already in memory. Raises `ConfigurationError`.

    ``places`` maps a key path to where it was written (``file:line``, or the ``--set`` option).
    """
    try:
        return Configuration.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(complain(error, source=source, places=places or {})) from None


def override(document: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `document` with ``path=value`` strings applied. Raises `ConfigurationError`."""
    changed = copy.deepcopy(dict(document))
    for item in overrides:
        apply(changed, item, {})
    return changed


def read(path: Path, *, sections: str = "name, provider, ...") -> tuple[dict[str, Any], dict[str, str]]:
    """A YAML file as a mapping, and where each key path of it was written (``file:line``).

    ``sections`` names some keys that are expected, for the complaint. Raises `ConfigurationError`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise ConfigurationError(
            f"{path} is a directory. --env takes a deployment file (YAML), not EnOSlib's environment directory."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}).\n"
            "Give --env the path of a deployment file; `enos_crdb configs` lists those that are shipped."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}).") from None
    try:
        document, lines = _parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path}{where}: not valid YAML: {_yaml_problem(error)}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = f"U+{ord(text[error.position]):04X}"
        raise ConfigurationError(f"{path}:{line}: not valid YAML: character {character} is not allowed.") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: not valid YAML: nested too deeply.") from None
    if not isinstance(document, dict):
        found = {type(None): "nothing", list: "a list"}.get(type(document), "a single value")
        raise ConfigurationError(f"{path}: expected a mapping of sections ({sections}), found {found}.")
    return document, {key: f"{path}:{line}" for key, line in lines.items()}


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    context = error.context or ""
    parts = (context, error.problem) if context.startswith("expected") else (error.problem or context,)
    return " ".join(part for part in parts if part)


def _parse(text: str) -> tuple[Any, dict[str, int]]:
    """The YAML document, and the line of every key path. Raises `yaml.YAMLError`."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines = dict(_lines(node, (), {}))
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def _lines(node: yaml.Node, path: tuple[str, ...], seen: dict[int, bool]) -> Iterator[tuple[str, int]]:
    """``seen`` tells of each node whether it is being walked (true) or was walked before (aliases are walked once)."""
    if seen.get(id(node)):
        problem = "an alias stands inside the value that it repeats"
        raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
    if id(node) in seen:
        return
    seen[id(node)] = True
    for key, line, value in _entries(node):
        below = (*path, key)
        yield ".".join(below), line + 1
        yield from _lines(value, below, seen)
    seen[id(node)] = False


def _entries(node: yaml.Node) -> list[tuple[str, int, yaml.Node]]:
    """What is directly below. Refuses a key given twice: PyYAML would keep the last one without a word."""
    if isinstance(node, yaml.SequenceNode):
        return [(str(index), value.start_mark.line, value) for index, value in enumerate(node.value)]
    entries: dict[str, tuple[str, int, yaml.Node]] = {}
    for key_node, value in node.value if isinstance(node, yaml.MappingNode) else ():
        key = str(key_node.value)
        if key in entries:
            problem = f"the key '{key}' is given twice in one mapping"
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        entries[key] = (key, key_node.start_mark.line, value)
    return list(entries.values())


def apply(document: dict[str, Any], override: str, places: dict[str, str]) -> None:
    """Change `document` as ``path=value`` says, and note in `places` who did. Raises `ConfigurationError`."""
    dotted, equals, text = override.partition("=")
    if not equals or not split(dotted):
        raise ConfigurationError(
            f"--set {override}: expected path=value, for instance --set database.max_connections=200."
        )
    try:
        value, _ = _parse(text)
    except (yaml.YAMLError, RecursionError):
        raise ConfigurationError(
            f"--set {override}: the value is not valid YAML; text with special characters needs double quotes, "
            f"inside single ones: --set '{dotted}=\"...\"'."
        ) from None
    assign(document, dotted, value, places, by=f"--set {override}")


def split(dotted: str) -> tuple[str, ...]:
    """The keys of a path: ``machines.0.count`` and ``machines[0].count`` are the same."""
    return tuple(part for part in re.split(r"[.\[\]]+", dotted.strip()) if part)


def assign(document: dict[str, Any], dotted: str, value: Any, places: dict[str, str], *, by: str) -> None:
    """Put `value` at a path of `document`, making the sections on the way; `by` says where that was written.

    Raises `ConfigurationError` when the path goes through a single value, or past the end of a list.
    """
    path = split(dotted)
    target: Any = document
    for part, following in itertools.pairwise(path):
        if isinstance(target, dict) and target.get(part) is None and following.isdigit():
            raise ConfigurationError(f"{by}: there is no list '{part}' yet that could have an entry {following}.")
        target = _descend(target, part, by)
    if isinstance(target, list):
        target[_index(target, path[-1], by)] = value
    else:
        target[path[-1]] = value
    for length in range(1, len(path)):
        places.setdefault(".".join(path[:length]), by)
    places[".".join(path)] = by


def _descend(target: Any, part: str, by: str) -> Any:
    key = _index(target, part, by) if isinstance(target, list) else part
    if isinstance(target, dict) and target.get(key) is None:  # absent, or a section left empty
        target[key] = {}
    below = target[key]
    if not isinstance(below, dict | list):
        raise ConfigurationError(f"{by}: '{part}' is {below!r}, a single value; nothing can be set below it.")
    return below


def _index(target: list[Any], part: str, by: str) -> int:
    if part.isdigit() and int(part) < len(target):
        return int(part)
    allowed = f"use a number from 0 to {len(target) - 1}" if target else "the list is empty"
    raise ConfigurationError(f"{by}: '{part}' does not name an entry of a list of {len(target)}; {allowed}.")
