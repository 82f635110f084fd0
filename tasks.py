"""Invoke tasks: what CONTRIBUTING.md asks to run, and what `.ci/run` runs."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

ROOT = Path(__file__).resolve().parent
PYTHON = shlex.quote(sys.executable)

ANSIBLE_LINT = ("ansible-lint>=25.1,<27",)
"""In an environment of its own: it wants another ansible-core than EnOSlib."""

SHELL = ("devstack_plugin/devstack/settings", "devstack_plugin/devstack/plugin.sh", "tests/devstack/recorder.sh")
"""Shell programs; the files they source are checked with them."""


@task(
    name="test",
    help={
        "k": "only tests whose name matches (pytest -k)",
        "unit": "only the tests that need no hosts (seconds)",
        "deep": "then the deep tests, file by file, too (an hour and more)",
        "touched": "then the deep tests of what the last day's commits touched, and others in turn",
        "budget": "how long all of it may take: 40m, 1h30m",
        "resume": "go on where the last --deep or --touched was cut, as long as the code is the same",
    },
)
def run_tests(  # noqa: PLR0917 - Invoke's options are positional
    context: Context,
    k: str = "",
    unit: bool = False,
    deep: bool = False,
    touched: bool = False,
    budget: str = "",
    resume: bool = False,
) -> None:
    """Run the tests: unit tests, and real deployments on local hosts (root, minutes)."""
    from tests import pieces

    select = ["-k", k] if k else []
    if unit:
        _run(context, shlex.join([sys.executable, "-m", "pytest", "tests/unit", "-m", "not deep", *select]))
        return
    sys.exit(pieces.run(select=select, deep=deep, touched=touched, resume=resume, budget_s=pieces.seconds(budget)))


@task
def lint(context: Context) -> None:
    """Check style and types of Python, the shell programs, and the Ansible roles."""
    _run(context, f"{PYTHON} -m ruff check .")
    _run(context, f"{PYTHON} -m ruff format --check .")
    _run(context, f"{PYTHON} -m mypy")
    _run(
        context,
        f"shellcheck --external-sources --source-path=SCRIPTDIR {' '.join(SHELL)}",
        {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    linter = _environment("ansible-lint", ANSIBLE_LINT)
    # --offline: every module we use is Ansible's own, so nothing is fetched from Galaxy.
    environment = {
        "PATH": f"{linter}:{os.environ['PATH']}",
        "ANSIBLE_ROLES_PATH": str(ROOT / "playbooks" / "roles"),
        "ANSIBLE_LIBRARY": str(ROOT / "playbooks" / "library"),
    }
    _run(context, "ansible-lint --offline --strict playbooks", environment)


@task
def docs(context: Context) -> None:
    """Write the pages of docs/reference, and the JSON Schema, from the code."""
    from enos_crdb.cli.commands import cli
    from enos_crdb.reference import pages

    for name, text in pages(cli).items():
        _write(ROOT / "docs" / name, text)
    schema(context)


@task
def schema(context: Context) -> None:
    """Write the JSON Schema of the deployment file that is shipped."""
    from enos_crdb.reference import schema_text

    _write(ROOT / "enos_crdb" / "configuration.schema.json", schema_text())


@task(help={"upgrade": "take the newest versions that fit, instead of keeping the pins"})
def lock(context: Context, upgrade: bool = False) -> None:
    """Resolve playbooks/locks/*.in into lock files with hashes."""
    from uv import find_uv_bin

    from enos_crdb import locks
    from enos_crdb.command import SubprocessRunner

    locks.write(ROOT / "playbooks" / "locks", uv=find_uv_bin(), runner=SubprocessRunner(), upgrade=upgrade)


@task(help={"text": "a file with what a terminal showed, colours included (script -c '...' FILE)"})
def picture(context: Context, text: str) -> None:
    """Draw what a terminal showed as docs/images/run.svg."""
    _run(context, f"{PYTHON} docs/picture.py {shlex.quote(str(Path(text).resolve()))} > docs/images/run.svg")


@task(
    help={
        "binary": "a real `cockroach` for this machine",
        "report": "file for the verdicts (JSON)",
        "k": "only tests whose name matches (pytest -k)",
    }
)
def cockroach(context: Context, binary: str, report: str = "cockroach-verdict.json", k: str = "") -> None:
    """Try on a real CockroachDB server what this project believes of it; ends with a verdict on each assumption."""
    variables = {"ENOS_CRDB_COCKROACH": str(Path(binary).resolve()), "ENOS_CRDB_COCKROACH_REPORT": report}
    select = f" -k {shlex.quote(k)}" if k else ""
    _run(context, f"{PYTHON} -m pytest tests/cockroach{select}", variables)


@task
def deploy(context: Context) -> None:
    """Time first and second deployments of 1, 2 and 4 local hosts."""
    _run(context, f"{PYTHON} -m benchmarks.deploy")


@task(name="report")
def bench_report(context: Context) -> None:
    """Time the report of up to a million samples, and say what it needs."""
    _run(context, f"{PYTHON} -m benchmarks.report")


@task(name="coverage")
def bench_coverage(context: Context) -> None:
    """Count how often intervals hold the truth, in simulated experiments."""
    _run(context, f"{PYTHON} -m benchmarks.coverage")


@task(name="run")
def bench_run(context: Context) -> None:
    """Tell the load of a run from what the engine adds, on local hosts, and what 500 simulated ones need (root)."""
    _run(context, f"{PYTHON} -m benchmarks.run")


def _run(context: Context, command: str, environment: Mapping[str, str] | None = None) -> None:
    """Run `command` at the root of the project, on this terminal; its status becomes ours when it fails."""
    with context.cd(str(ROOT)):
        terminal = sys.stdout.isatty()
        done = context.run(command, echo=True, env=dict(environment or {}), pty=terminal, in_stream=False, warn=True)
    if done is None or done.exited:
        sys.exit(done.exited if done is not None else 1)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(path.relative_to(ROOT))


def _environment(name: str, requirements: tuple[str, ...]) -> Path:
    """``bin`` of a virtualenv with `requirements`, kept in the user's cache and made when it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "enos_crdb"
    digest = hashlib.sha256(repr((requirements, sys.version)).encode()).hexdigest()[:12]
    directory = cache / f"{name}-{digest}"
    complete = directory / "complete"
    if not complete.exists():
        print(f"installing {' '.join(requirements)} in {directory}", flush=True)
        shutil.rmtree(directory, ignore_errors=True)
        venv.create(directory, with_pip=True)
        pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements]
        Context().run(shlex.join(pip), in_stream=False)
        complete.touch()
    return directory / "bin"


namespace = Collection(run_tests, lint, docs, schema, lock, picture, cockroach)
namespace.add_collection(Collection("bench", deploy, bench_report, bench_run, bench_coverage))
