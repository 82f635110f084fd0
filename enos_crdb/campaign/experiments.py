"""Where experiments come from: a YAML file, a Python file, or the name of one that is shipped."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from enos_crdb import shipped
from enos_crdb.config.complaints import complain
from enos_crdb.errors import ConfigurationError
from enos_crdb.sweep import Experiment, load, make

ENDINGS = (".yaml", ".yml", ".py")


def load_experiment(source: str | Path, overrides: Sequence[str] = (), *, short: bool = False) -> Experiment:
    """The experiment in a file (``.yaml``, or ``.py`` with an object called ``experiment``), or a shipped one.

    ``overrides`` are ``path=value`` strings for keys of the document; with ``short`` it is its short variant.
    Raises `ConfigurationError`.
    """
    path = _path(source)
    if path.suffix != ".py":
        return load(path, overrides, short=short)
    made = _executed(path)
    return make(
        made.model_dump(exclude_unset=True),
        source=str(path),
        places=made.places,
        base=path.parent,
        overrides=overrides,
        short=short,
    )


def shipped_experiments() -> dict[str, Path]:
    """Name -> file."""
    files = shipped.directory("experiments").glob("*")
    return {path.stem: path for path in sorted(files) if path.suffix in ENDINGS and not path.name.startswith("_")}


def _path(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        if path.suffix not in ENDINGS:
            raise ConfigurationError(f"{path}: an experiment is a .yaml or a .py file.")
        return path
    known = shipped_experiments()
    name = str(source).replace("-", "_")
    if name in known:
        return known[name]
    what = "is a directory" if path.is_dir() else "is neither a file nor the name of an experiment that is shipped"
    raise ConfigurationError(f"{source} {what}.\nThere are: {', '.join(known)}; or give the path of a file of yours.")


def _executed(path: Path) -> Experiment:
    try:
        found = runpy.run_path(str(path), run_name="experiment").get("experiment")
    except ValidationError as error:
        raise ConfigurationError(complain(error, source=str(path), places={}, root=Experiment)) from None
    except (SyntaxError, ImportError, NameError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path}: cannot be executed: {type(error).__name__}: {error}.") from error
    if not isinstance(found, Experiment):
        raise ConfigurationError(
            f"{path}: has no object called `experiment`; write `experiment = Experiment(...)`, with Experiment from "
            "enos_crdb.campaign."
        )
    return found
