"""Python files of the Ansible roles, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from enos_crdb import shipped

ROLES = shipped.directory("playbooks") / "roles"


def python(path: str) -> ModuleType:
    """A Python file of an Ansible role, imported as Ansible or the host would run it."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROLES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
