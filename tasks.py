"""Invoke tasks: what CONTRIBUTING.md asks to run, and what `.ci/run` runs."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Container, Mapping
from pathlib import Path
from xml.etree import ElementTree

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

ROOT = Path(__file__).resolve().parent
PYTHON = shlex.quote(sys.executable)

ANSIBLE_LINT = ("ansible-lint>=25.1,<27",)
"""In an environment of its own: it wants another ansible-core than EnOSlib."""

SHELL = ("devstack_plugin/devstack/settings", "devstack_plugin/devstack/plugin.sh", "tests/devstack/recorder.sh")
"""Shell programs; the files they source are checked with them."""


ENDS = (0, 1, 5)
"""How pytest ends when it was neither interrupted nor misused: all passed, some failed, none selected."""


@task(
    name="test",
    help={"k": "only tests whose name matches (pytest -k)", "unit": "only the tests that need no hosts (seconds)"},
)
def run_tests(context: Context, k: str = "", unit: bool = False) -> None:
    """Run the tests: unit tests, then real deployments on local hosts (root, minutes)."""
    select = f" -k {shlex.quote(k)}" if k else ""
    if unit:
        _run(context, f"{PYTHON} -m pytest tests/unit{select}")
        return
    # Most tests wait most of the time, so a few go side by side; those that measure time come afterwards, alone.
    workers = min(4, (os.cpu_count() or 1) + 1)
    beside = f"--numprocesses={workers} --dist=loadfile --no-loadscope-reorder"
    with tempfile.TemporaryDirectory() as reports:
        for part, options in (("beside", f"-m 'not alone' {beside}"), ("alone", "-m alone")):
            command = f"{PYTHON} -m pytest {options}{select} --junitxml={shlex.quote(reports)}/{part}.xml"
            _run(context, command, allowed=ENDS)
        _sum_up(Path(reports))


def _sum_up(reports: Path) -> None:
    """pytest's closing line for all parts of a test run; status 1 when a test failed, 5 when none was there."""
    counts: Counter[str] = Counter()
    seconds = 0.0
    for path in reports.glob("*.xml"):
        for suite in ElementTree.parse(path).iter("testsuite"):
            counts.update({name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")})
            seconds += float(suite.get("time", 0))
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    told = {"failed": failed, "passed": passed, "skipped": counts["skipped"]}
    line = ", ".join(f"{count} {what}" for what, count in told.items() if count) or "no tests ran"
    print(f" {line} in {seconds:.2f}s ".center(80, "="))
    if failed or not counts["tests"]:
        sys.exit(1 if failed else 5)


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
    environment = {"PATH": f"{linter}:{os.environ['PATH']}", "ANSIBLE_ROLES_PATH": str(ROOT / "playbooks" / "roles")}
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
    """Write the JSON Schema of the experiment file that is shipped."""
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
    _run(context, f"{PYTHON} benchmarks/deploy.py")


@task(name="report")
def bench_report(context: Context) -> None:
    """Time the report of up to a million samples, and say what it needs."""
    _run(context, f"{PYTHON} benchmarks/report.py")


def _run(
    context: Context, command: str, environment: Mapping[str, str] | None = None, *, allowed: Container[int] = (0,)
) -> None:
    """Run `command` at the root of the project, on this terminal; a status that is not allowed becomes ours."""
    with context.cd(str(ROOT)):
        terminal = sys.stdout.isatty()
        done = context.run(command, echo=True, env=dict(environment or {}), pty=terminal, in_stream=False, warn=True)
    if done is None or done.exited not in allowed:
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
namespace.add_collection(Collection("bench", deploy, bench_report))
