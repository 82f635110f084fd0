"""What a wheel contains: everything the program reads. `playbooks/` and `configs/` move inside the package."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked(*directories: str) -> list[str]:
    """Files of the project: those git knows, and new ones it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *directories]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def sources() -> list[str]:
    """The files that make a wheel, as they are when the tests begin."""
    directories = ("enos_crdb", "playbooks", "configs", "experiments", "keystone_crdb", "devstack_plugin")
    return tracked(*directories, "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(sources: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a source distribution built from a copy of the project's files."""
    copy = tmp_path_factory.mktemp("copy")
    for name in sources:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    done = subprocess.run(
        # uv makes the two environments of the build, of what pyproject.toml requires, in a fraction of pip's time.
        [sys.executable, "-m", "build", "--installer=uv", "--outdir", str(copy / "dist"), str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next((copy / "dist").glob("*.whl"))


def test_the_wheel_holds_every_file_that_the_program_reads(wheel: Path, sources: list[str]) -> None:
    expected = {
        name if name.startswith("enos_crdb/") else f"enos_crdb/{name}"
        for name in sources
        # What lock files are resolved from is read by `invoke lock` only.
        if "/" in name and not name.endswith(".in") and not name.startswith("keystone_crdb/tests/")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith(".in")}
    assert sorted(expected - names) == [], "missing from the wheel"
    assert sorted(names - expected) == [], "in the wheel, but not of the project"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory where the wheel is installed."""
    place = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def test_an_installed_wheel_finds_its_playbooks_and_configurations(installed: Path) -> None:
    code = (
        "import enos_crdb, sys; from enos_crdb import config, shipped\n"
        "assert enos_crdb.__file__.startswith(sys.argv[1]), enos_crdb.__file__\n"
        "files = sorted(shipped.directory('configs').glob('*.yaml'))\n"
        "for path in files: config.load(path)\n"
        "print(len(files), len(list(shipped.directory('playbooks').glob('locks/*.txt'))))\n"
        "assert str(shipped.directory('playbooks')).startswith(sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(installed)],
        capture_output=True,
        text=True,
        cwd=installed,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    configurations, locks = map(int, done.stdout.split())
    assert (configurations, locks) == (
        len(list((ROOT / "configs").glob("*.yaml"))),
        len(list((ROOT / "playbooks" / "locks").glob("*.txt"))),
    )


def test_an_installed_wheel_plans_the_experiments_that_are_shipped(installed: Path) -> None:
    code = (
        "import sys; from enos_crdb.campaign import load_experiment, plan, shipped_experiments\n"
        "for name, path in shipped_experiments().items():\n"
        "    assert str(path).startswith(sys.argv[1]), path\n"
        "    assert plan(load_experiment(name)).items\n"
        "from enos_crdb.experiments.latency_impact import experiment\n"
        "print(len(shipped_experiments()), experiment.experiment)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(installed)], capture_output=True, text=True, cwd=installed, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["6", "latency-impact"]


def test_the_wheel_names_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "enos_crdb = enos_crdb.__main__:main" in archive.read(entry_points).decode()


def imported_libraries() -> Iterator[str]:
    for name in tracked("enos_crdb"):
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield str(node.module)


def test_every_imported_library_is_required() -> None:
    required = {
        re.split(r"[^A-Za-z0-9_.-]", line)[0].lower().replace("-", "_")
        for line in setup_cfg()["options"]["install_requires"].splitlines()
    }
    owners = metadata.packages_distributions()
    imported = (
        {name.split(".")[0] for name in imported_libraries()} - set(sys.stdlib_module_names) - {"enos_crdb", "tomllib"}
    )
    missing = {
        name
        for name in imported
        if not {owner.lower().replace("-", "_") for owner in owners.get(name, [name])} & required
    }
    assert not missing - {"ansible"}, "Ansible comes with EnOSlib, which pins it; name the others in setup.cfg"


def test_every_package_is_listed() -> None:
    listed = set(setup_cfg()["options"]["packages"].split())
    found = {str(Path(name).parent).replace("/", ".") for name in tracked("enos_crdb") if name.endswith(".py")}
    assert listed == found | {
        f"enos_crdb.{name}" for name in ("playbooks", "configs", "experiments", "keystone_crdb", "devstack_plugin")
    }
