"""From a file to a checked `Experiment`: its configuration put in place, the short variant, ``--set``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from enos_crdb import shipped
from enos_crdb.config import loading
from enos_crdb.config.complaints import complain
from enos_crdb.errors import ConfigurationError
from enos_crdb.sweep.document import Experiment

SECTIONS = "experiment, configuration, factors, ..."
SHORT = "-short"
"""End of the name of a short variant: its campaigns are not those of the whole."""


def load(path: Path, overrides: Sequence[str] = (), *, short: bool = False) -> Experiment:
    """Read and check an experiment written in YAML. Raises `ConfigurationError` with every problem found."""
    document, places = loading.read(path, sections=SECTIONS)
    return make(document, source=str(path), places=places, base=path.parent, overrides=overrides, short=short)


def make(
    document: Mapping[str, Any],
    *,
    source: str,
    places: Mapping[str, str] | None = None,
    base: Path | None = None,
    overrides: Sequence[str] = (),
    short: bool = False,
) -> Experiment:
    """Check a document that is already in memory. Raises `ConfigurationError`.

    ``base`` is the directory that the path of its configuration is relative to. The result has its configuration in
    it, and with ``short`` it is the short variant.
    """
    changed, where = copy.deepcopy(dict(document)), dict(places or {})
    _check(changed, source, where)  # before anything is merged: what is complained of is what was written
    variant = changed.pop("short", None)
    _inline(changed, where, source, base)
    if short:
        _shorten(changed, where, variant, source, base)
    elif variant:
        changed["short"] = variant
    for item in overrides:
        loading.apply(changed, item, where)
    return _check(changed, source, where)


def _check(document: Mapping[str, Any], source: str, places: Mapping[str, str]) -> Experiment:
    try:
        return Experiment.model_validate(document).written(source, places)
    except ValidationError as error:
        raise ConfigurationError(complain(error, source=source, places=places, root=Experiment)) from None


def _inline(document: dict[str, Any], places: dict[str, str], source: str, base: Path | None) -> None:
    """Put the content of the configuration's file in the place of its name."""
    name = document["configuration"]
    if not isinstance(name, str):
        return
    where = places.get("configuration", source)
    path = _find(name, base)
    if path is None:
        known = ", ".join(sorted(found.name for found in shipped.directory("configs").glob("*.yaml")))
        raise ConfigurationError(
            f"{where}: configuration: there is no deployment file '{name}' beside this one or in the current "
            f"directory, and none of that name is shipped; there are: {known}."
        )
    document["configuration"], lines = loading.read(path)
    places.update({f"configuration.{key}": place for key, place in lines.items()})


def _find(name: str, base: Path | None) -> Path | None:
    candidates = [Path(name), shipped.directory("configs") / name, shipped.directory("configs").parent / name]
    if base is not None:
        candidates.insert(0, base / name)
    return next((path for path in candidates if path.is_file()), None)


def _shorten(document: dict[str, Any], places: dict[str, str], variant: Any, source: str, base: Path | None) -> None:
    """Merge the short variant into the document."""
    if not variant:
        raise ConfigurationError(
            f"{source}: the experiment has no short variant; add a section `short` with what replaces keys of it."
        )
    fixed = [key for key in ("experiment", "short") if key in variant]
    if fixed:
        raise ConfigurationError(
            f"{places.get(f'short.{fixed[0]}', source)}: short.{fixed[0]}: this key cannot be replaced."
        )
    change = copy.deepcopy(variant)
    if isinstance(change.get("configuration"), str):
        own = {key.removeprefix("short."): place for key, place in places.items() if key.startswith("short.")}
        _inline(change, own, source, base)
        places.update({key: place for key, place in own.items() if key.startswith("configuration.")})
        document.pop("configuration")
    _merge(document, change, places, ())
    document["experiment"] += SHORT


def _merge(document: dict[str, Any], change: Mapping[str, Any], places: dict[str, str], path: tuple[str, ...]) -> None:
    for key, value in change.items():
        below = (*path, str(key))
        # The levels of a factor are replaced as a whole: fewer of them is the point of a short variant.
        whole = path[:1] == ("factors",) and key == "levels"
        if value is None:
            document.pop(key, None)
        elif isinstance(value, dict) and isinstance(document.get(key), dict) and not whole:
            _merge(document[key], value, places, below)
            continue
        else:
            document[key] = value
        _moved(places, ".".join(below))


def _moved(places: dict[str, str], key: str) -> None:
    """What stands at `key` (and below it) was written in the section ``short``."""
    for old in [place for place in places if place == key or place.startswith(f"{key}.")]:
        del places[old]
    for old in [place for place in places if place == f"short.{key}" or place.startswith(f"short.{key}.")]:
        places[old.removeprefix("short.")] = places[old]
