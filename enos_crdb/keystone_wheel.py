"""The wheel of `keystone_crdb`, which is installed beside Keystone; built from the sources that came with enos_crdb."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from enos_crdb import shipped, software
from enos_crdb.command import Runner
from enos_crdb.errors import CommandError, PrerequisiteError


def ensure(cache: Path, runner: Runner) -> Path:
    """The wheel, in a directory of the cache named after its sources; built when absent. Raises `PrerequisiteError`."""
    target = cache / "keystone_crdb" / software.keystone_crdb_digest()
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            built = Path(scratch) / "built"
            built.mkdir()
            _build(built, runner)
            _put(built, target)
    return next(target.glob("*.whl"))


def _build(directory: Path, runner: Runner) -> None:
    # flit_core needs neither an index nor a virtualenv of its own, as building with pip would.
    command = [sys.executable, "-m", "flit_core.wheel", str(shipped.directory("keystone_crdb"))]
    try:
        runner.run([*command, f"--outdir={directory}"], timeout_s=60)
    except CommandError as error:
        raise PrerequisiteError(
            f"The package keystone_crdb could not be built.\n{error}\n"
            "It comes with enos_crdb, so the installation of enos_crdb is damaged: install it again."
        ) from error


def _put(built: Path, target: Path) -> None:
    try:
        built.rename(target)
    except OSError:
        if not target.is_dir():  # else another run was faster; the same sources make the same wheel
            raise
