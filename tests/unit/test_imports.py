"""A module imports downwards only: the direction of imports is the design."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import enos_crdb

PACKAGE = Path(enos_crdb.__file__).parent

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "__init__ errors",
        "model events shipped examples",
        # values, and the door to processes:
        "config backends installers certificates stats sweep usage traffic command keystone inventory software locks "
        "masking survey ssh tables",
        # effects:
        "ansible ansible_callbacks door providers network rally record store provenance wheelhouse keystone_wheel",
        "summary loading",  # read what is stored
        "report bundle",
        "phases",
        "run",
        "campaign",
        "reference testing",
        "cli",
        "__main__",
    )
)
"""From the bottom to the top. A module may import those of its own layer (without a cycle) and of those below."""

ONLY_BELOW: dict[str, str] = {
    "summary": "errors tables model stats record config shipped usage traffic loading store",
    "loading": "errors model stats store record config traffic backends",
    "report": "__init__ errors model stats record config shipped usage traffic summary loading sweep store",
    "bundle": "__init__ errors store record loading masking",
    "reference": "errors config examples sweep",
}
"""Modules near the top that may see very little: what was stored, or the configuration."""

DOORS: dict[str, str] = {
    "subprocess": "command",
    "pty": "command",
    "ansible": "ansible ansible_callbacks",
    "enoslib": "ansible providers network",
    "execo": "campaign",
}
"""Libraries with effects, and the only parts that may import them."""

MODULES: dict[str, Path] = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if PACKAGE / "playbooks" not in path.parents
}
"""Names below ``enos_crdb``; the package itself is ``__init__``."""


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Absolute names of everything that a file imports, inside functions too."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> Iterator[str]:
    """Our own modules that a file imports."""
    for name in imported(path):
        if name.split(".")[0] == "enos_crdb":
            parts = name.split(".")[1:]
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            yield ".".join(parts) or "__init__"


def part(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def layer(module: str) -> int:
    found = [number for number, names in enumerate(LAYERS) if part(module) in names]
    assert len(found) == 1, f"give '{part(module)}' one place in LAYERS, and in docs/explanation/design.md"
    return found[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_downwards(module: str) -> None:
    upwards = {name for name in ours(MODULES[module]) if layer(name) > layer(module)}
    assert not upwards, f"enos_crdb.{module} imports {sorted(upwards)}, which stand above it"


@pytest.mark.parametrize("module", [name for name in MODULES if part(name) in ONLY_BELOW])
def test_readers_see_little(module: str) -> None:
    allowed = {part(module), *ONLY_BELOW[part(module)].split()}
    assert {part(name) for name in ours(MODULES[module])} <= allowed


@pytest.mark.parametrize("library", DOORS)
def test_effects_come_through_their_door(library: str) -> None:
    users = {
        part(module) for module, path in MODULES.items() if library in {name.split(".")[0] for name in imported(path)}
    }
    assert users <= set(DOORS[library].split())


def test_no_process_is_started_behind_the_door() -> None:
    for module, path in MODULES.items():
        for node in nodes(path):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                starts = node.attr in ("system", "popen", "fork") or node.attr.startswith(
                    ("exec", "spawn", "posix_spawn")
                )
                assert not starts, f"enos_crdb.{module} calls os.{node.attr}, line {node.lineno}"


def test_there_is_no_cycle() -> None:
    graph = {module: set(ours(path)) - {module} for module, path in MODULES.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"imports go round: {' -> '.join(error.args[1])}")


def test_there_is_no_module_for_what_has_no_name() -> None:
    names = {name for module in MODULES for name in module.split(".")}
    assert not names & {"utils", "util", "helpers", "common", "manager", "misc"}
