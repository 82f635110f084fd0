"""Shortens EnOSlib's waits for Grid'5000's API in a process under test (see tests.doubles.grid5000.patience)."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import time
import types
from collections.abc import Sequence

MODULE = "enoslib.infra.enos_g5k.g5k_api_utils"
SHORT_S = 0.05


class ShortTime:
    """The module `time` with a short `sleep`, which keeps what it was asked for."""

    def __init__(self, waits: list[float] | None = None) -> None:
        self.waits = [] if waits is None else waits

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        time.sleep(min(seconds, SHORT_S))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `MODULE` as usual, and gives it a short `time` once it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, real: importlib.abc.Loader) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self._real.exec_module(module)
        module.__dict__["time"] = ShortTime()


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, _Finder())
