"""The double of DevStack has the names and the order of a real one, where git repositories of it can be reached."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from enos_crdb import shipped
from tests.devstack.recorder import RECORDER

GIT_BASE = os.environ.get("ENOS_CRDB_GIT_BASE", "")
BRANCHES = ("stable/2025.2", "stable/2026.1", "master")
REPLACED = ("init_keystone", "bootstrap_keystone", "create_keystone_accounts")
SPELLED = {
    "lib_database": r"source \$TOP_DIR/lib/database",
    "lib_keystone": r"source \$TOP_DIR/lib/keystone",
    "install_keystone": "stack_install_service keystone",
    "stack: load_plugin_settings": "run_phase source",
}
"""Steps of the double that the real scripts spell otherwise."""

pytestmark = pytest.mark.skipif(
    not GIT_BASE, reason="ENOS_CRDB_GIT_BASE does not name git repositories, in which openstack/devstack would be"
)


@pytest.fixture(scope="module", params=BRANCHES)
def devstack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("devstack") / "devstack"
    command = ["git", "clone", "--quiet", "--depth=1", f"--branch={request.param}", f"{GIT_BASE}/openstack/devstack"]
    subprocess.run([*command, str(target)], check=True, timeout=120)
    return target


def functions(*paths: Path) -> set[str]:
    defined = re.compile(r"^ *function (\w+)", re.MULTILINE)
    return {name for path in paths for name in defined.findall(path.read_text(encoding="utf-8"))}


def sources() -> list[Path]:
    """The shell files of the plugin."""
    directory = shipped.directory("devstack_plugin") / "devstack"
    return [
        directory / "settings",
        directory / "plugin.sh",
        *(path for path in directory.rglob("lib/**/*") if path.is_file()),
    ]


def steps(script: str) -> list[str]:
    """Patterns of what the double does in `script`, in its order."""
    body = re.search(
        rf"^function {script} {{\n(.*?)^}}", RECORDER.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert body
    found = re.findall(r"^    (?:step (\w+)|(run_phase .*))$", body[1], re.MULTILINE)
    names = [step or phase for step, phase in found]
    return [SPELLED.get(f"{script}: {name}", SPELLED.get(name, name)) for name in names]


def test_every_function_that_the_plugin_calls_is_there(devstack: Path) -> None:
    text = RECORDER.read_text(encoding="utf-8")
    called = text[text.index("# --- functions that plugins may call") : text.index("# --- local.conf")]
    used = {*re.findall(r"^function (\w+)", called, re.MULTILINE), "register_database", "recreate_database"}
    files = (devstack / "functions", devstack / "functions-common", *devstack.glob("inc/*"), *devstack.glob("lib/*"))
    known = functions(*(path for path in files if path.is_file()))
    assert used - known == set()


def test_every_variable_that_the_plugin_reads_is_there(devstack: Path) -> None:
    plugin = "\n".join(path.read_text(encoding="utf-8") for path in sources())
    read = {name for name in re.findall(r"\$\{?([A-Z][A-Z_0-9]+)", plugin) if not name.startswith("ENOS_CRDB_")}
    files = [devstack / name for name in ("stackrc", "stack.sh", "functions", "functions-common")]
    files += [path for path in devstack.glob("lib/*") if path.is_file()]
    real = "\n".join(path.read_text(encoding="utf-8") for path in files)
    assigned = set(re.findall(r"^\s*(?:export )?([A-Z][A-Z_0-9]+)=", real, re.MULTILINE))
    asked = set(re.findall(r"^\s*read_password ([A-Z_]+)", real, re.MULTILINE))
    assert read >= {"KEYSTONE_BIN_DIR", "REQUIREMENTS_DIR"}
    assert read - assigned - asked - {"LINENO", "BASH_SOURCE"} == set()


def test_the_replaced_steps_are_functions_of_lib_keystone(devstack: Path) -> None:
    assert set(REPLACED) <= functions(devstack / "lib/keystone")


@pytest.mark.parametrize("script", ["stack", "unstack", "clean"])
def test_the_order_is_that_of_the_real_script(devstack: Path, script: str) -> None:
    lines = (devstack / f"{script}.sh").read_text(encoding="utf-8").splitlines()
    places = []
    for pattern in steps(script):
        at = re.compile(rf"^\s*(?:if |async_run\w* )?{pattern}\b")
        places.append(next((number for number, line in enumerate(lines, 1) if at.match(line)), 0))
    named = list(zip(steps(script), places, strict=True))
    assert all(places), named
    assert places == sorted(places), named


def test_a_database_type_has_the_functions_of_a_stock_one(devstack: Path) -> None:
    stock = {name.removesuffix("_postgresql") for name in functions(devstack / "lib/databases/postgresql")}
    ours = shipped.directory("devstack_plugin") / "devstack/lib/databases/enos_postgresql"
    assert {name.removesuffix("_enos_postgresql") for name in functions(ours)} >= {
        name for name in stock if re.search(r"_database(_|$)|^database_", name)
    }
