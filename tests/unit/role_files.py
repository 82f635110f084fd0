"""Python files that run on hosts, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from enos_crdb import shipped

PLAYBOOKS = shipped.directory("playbooks")
ROLES = PLAYBOOKS / "roles"
PROGRAMS = PLAYBOOKS / "programs"


def python(path: str) -> ModuleType:
    """A Python file of an Ansible role, imported as Ansible or the host would run it."""
    return _imported(ROLES / path)


def program(name: str) -> ModuleType:
    """A program that the door brings to hosts."""
    return _imported(PROGRAMS / f"{name}.py")


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
