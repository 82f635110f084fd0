"""Ansible tasks as text: those that hold a secret, who may read what they write, and what is restarted after it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from enos_crdb import shipped

PLAYBOOKS = shipped.directory("playbooks")
ROLES = PLAYBOOKS / "roles"

SECRET_NAME = re.compile(r"(password|passwords|secret|secrets|keys|database_url|clouds|certificates|license)")
"""What a name of an option ends with whose value nobody may see."""

NOT_SHOWN = (
    # Names, paths and lengths of secrets are none; nor is what is told with the secret starred out.
    r"\w+\s*\|\s*length\b",
    r"\w+\s*\|\s*map\(attribute='(name|path)'\)",
    r"\w+\.keys\(\)",
    r"\|\s*replace\(\w+, '\*+'\)",
)
_BRACES = r"{(?:[^{}]|{(?:[^{}]|{[^{}]*})*})*}"
EXPRESSION = re.compile(rf"{{(?:[^{{}}]|{_BRACES})*}}")
"""A pair of braces with all that it holds, as in ``{{ ... }}`` and ``{% ... %}``."""
KEYWORDS = frozenset((
    "name", "when", "register", "changed_when", "failed_when", "until", "retries", "delay", "notify", "tags", "become",
    "vars", "no_log", "timeout", "throttle", "run_once", "ignore_unreachable", "ignore_errors",
))  # fmt: skip
"""Of a task, what is not an argument of its module."""
INCLUDES = re.compile(r"(ansible\.builtin\.)?(include|import)_(tasks|role)")
WRITERS = ("ansible.builtin.copy", "ansible.builtin.template")


@dataclass(frozen=True)
class Task:
    """One task, where it stands, and whether its results are hidden (by itself or by a block around it)."""

    file: Path
    role: str
    content: Mapping[str, Any]
    hidden: bool

    @property
    def name(self) -> str:
        return f"{self.file.relative_to(PLAYBOOKS)}: {self.content.get('name', '')}"

    @property
    def arguments(self) -> dict[str, Any]:
        return {key: value for key, value in self.content.items() if key not in KEYWORDS}

    @property
    def includes(self) -> bool:
        return any(INCLUDES.fullmatch(key) for key in self.content)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def flat(tasks: Any, file: Path, role: str, *, hidden: bool = False) -> Iterator[Task]:
    for content in tasks or ():
        inside = hidden or content.get("no_log") is True
        blocks = [content[part] for part in ("block", "rescue", "always") if part in content]
        if not blocks:
            yield Task(file, role, content, inside)
        for block in blocks:
            yield from flat(block, file, role, hidden=inside)


@cache
def tasks() -> tuple[Task, ...]:
    """Every task of every role and playbook."""
    found: list[Task] = []
    for file in sorted(ROLES.glob("*/*/*.yml")):
        if file.parent.name in ("tasks", "handlers"):
            found += flat(load(file), file, file.parents[1].name)
    for file in sorted(PLAYBOOKS.glob("*.yml")):
        for play in load(file):
            for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
                found += flat(play.get(part), file, "", hidden=play.get("no_log") is True)
    return tuple(found)


def options() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for file in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        for entry in load(file)["argument_specs"].values():
            yield from (entry.get("options") or {}).items()


def template(role: str, name: str) -> str:
    """A template with what it includes."""
    path = ROLES / role / "templates" / name
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text + "".join(template(role, other) for other in re.findall(r"{%-? include '([^']+)'", text))


def spelled(value: Any, role: str) -> str:
    """All text of `value`, and that of the templates it names."""
    if isinstance(value, Mapping):
        return "\n".join(spelled(one, role) for one in value.values())
    if isinstance(value, list):
        return "\n".join(spelled(one, role) for one in value)
    text = str(value)
    return text + "".join(template(role, name) for name in re.findall(r"[\w./-]+\.j2", text))


def mentions(value: Any, role: str, names: frozenset[str]) -> frozenset[str]:
    """Which of `names` the expressions in `value` use; prose may name them."""
    text = "\n".join(EXPRESSION.findall(spelled(value, role)))
    for pattern in NOT_SHOWN:
        text = re.sub(pattern, "", text)
    return names & frozenset(re.findall(r"\w+", text))


@cache
def secrets() -> frozenset[str]:
    """Options that argument_specs call secret, and the variables of roles and facts that are made of them."""
    found = frozenset(name for name, spec in options() if spec.get("no_log") is True)
    made = [
        (name, value, file.parents[1].name)
        for file in ROLES.glob("*/vars/main.yml")
        for name, value in (load(file) or {}).items()
    ]
    for task in tasks():
        given = dict(task.content.get("ansible.builtin.set_fact", {}))
        given |= task.content.get("vars", {}) if task.includes else {}
        made += [(name, value, task.role) for name, value in given.items()]
    while more := frozenset(name for name, value, role in made if mentions(value, role, found)) - found:
        found |= more
    return found


def held(task: Task) -> frozenset[str]:
    """The secrets among what a task gives to its module; variables of its own are looked into."""
    own = {name: mentions(value, task.role, secrets()) for name, value in (task.content.get("vars") or {}).items()}
    names = secrets() | frozenset(name for name, behind in own.items() if behind)
    return mentions(task.arguments, task.role, names - frozenset(name for name, behind in own.items() if not behind))


def holders() -> tuple[Task, ...]:
    return tuple(task for task in tasks() if not task.includes and held(task))


def test_options_that_are_named_like_secrets_are_declared_secret() -> None:
    said = {
        name for name, spec in options() if SECRET_NAME.fullmatch(name.partition("_")[2]) and not spec.get("no_log")
    }
    assert said == set()


def test_secrets_are_found_where_they_are_and_where_they_are_not() -> None:
    assert {"keystone_admin_password", "__keystone_private", "__keystone_files"} <= secrets()
    assert {"__cockroachdb_certificate_paths", "__mariadb_options"}.isdisjoint(secrets())
    found = {task.file.relative_to(ROLES).as_posix() for task in holders() if task.role}
    assert {
        "keystone/tasks/schema.yml", "keystone/tasks/files.yml", "rally/tasks/configure.yml",
        "devstack/tasks/configure.yml", "cockroachdb/tasks/configure.yml", "postgresql/tasks/configure.yml",
        "postgresql/tasks/live.yml", "mariadb/tasks/provision.yml", "mariadb/tasks/live.yml",
    } <= found  # fmt: skip


@pytest.mark.parametrize(
    ("written", "hidden"),
    [
        pytest.param("ansible.builtin.command: {cmd: x, stdin: '{{ rally_clouds }}'}", False, id="argument"),
        pytest.param("ansible.builtin.debug: {msg: '{{ item }}'}\n  loop: '{{ keystone_keys }}'", False, id="loop"),
        pytest.param("x: {a: '{{ b }}'}\n  vars: {b: '{{ keystone_keys.jws_private }}'}", False, id="own-variable"),
        pytest.param(
            "x: {a: y}\n  environment: {OS_PASSWORD: '{{ keystone_admin_password }}'}", False, id="environment"
        ),
        pytest.param("x: {a: '{{ keystone_keys.keys() | list }}'}", True, id="names"),
        pytest.param("x: {a: '{{ rally_clouds }}'}\n  no_log: true", True, id="hidden"),
        pytest.param("block: [{x: {a: '{{ rally_clouds }}'}}]\n  no_log: true", True, id="hidden-by-its-block"),
    ],
)
def test_a_task_that_holds_a_secret_is_recognised(written: str, hidden: bool) -> None:
    (task,) = flat(yaml.safe_load(f"- {written}"), ROLES / "x.yml", "rally")
    assert (task.hidden or not held(task)) is hidden


def test_every_task_that_holds_a_secret_hides_what_it_does() -> None:
    assert [f"{task.name} ({', '.join(sorted(held(task)))})" for task in holders() if not task.hidden] == []


def for_others(mode: object) -> bool:
    """Whether `mode` gives a right to everybody; a mode that nobody says is as good as one."""
    return not isinstance(mode, str) or not re.fullmatch(r"0?[0-7][0-7]0", mode)


def test_every_file_on_a_host_with_a_secret_is_closed_to_others() -> None:
    written = [(task, task.content[module]) for task in holders() for module in WRITERS if module in task.content]
    assert {task.role for task, _ in written} >= {"rally", "devstack"}
    assert [task.name for task, given in written if for_others(given.get("mode"))] == []


def test_every_file_in_a_list_of_files_with_a_secret_is_closed_to_others() -> None:
    files = load(ROLES / "keystone" / "vars" / "main.yml")
    listed = [file for name in ("__keystone_configuration", "__keystone_service") for file in files[name]]
    private = [file for file in listed if mentions(file["content"], "keystone", secrets())]
    assert [file["path"].rpartition("/")[2] for file in private] == ["keystone.conf"]
    assert [file["path"] for file in private if for_others(file.get("mode"))] == []
    for role, name in (("keystone", "__keystone_private"), ("cockroachdb", "__cockroachdb_certificate_files")):
        (mode,) = re.findall(r"'mode': '(\d+)'", load(ROLES / role / "vars" / "main.yml")[name])
        assert not for_others(mode), name


# What is restarted

CONFIGURES = ("ansible.builtin.template", "written_files", "cockroachdb_files")
UNSERVED: Mapping[str, str] = {
    "rally/tasks/configure.yml": "commands read it",
    "devstack/tasks/configure.yml": "stack.sh is begun again when a file is younger than its end (stacking.py)",
    "devstack/tasks/install.yml": "sudo reads it",
    "postgresql/tasks/configure.yml": "the server is asked what waits for a start",
    "cockroachdb/tasks/steps.yml": "a run executes them",
    "mariadb/tasks/steps.yml": "a run executes them",
}
"""Files whose tasks write configuration, and why nothing is restarted because they did."""
RESTARTED = (
    ("haproxy", "__haproxy_written"),
    ("haproxy", "__haproxy_limit"),
    ("keystone", "__keystone_written"),
    ("memcached", "__memcached_conf"),
    ("mariadb", "__mariadb_written"),
    ("galera", "__mariadb_written"),
    ("cockroachdb", "__cockroachdb_written"),
)
"""The role whose service is restarted, and the result that tells that its configuration changed."""


def configures(task: Task) -> bool:
    return any(key in task.content for key in CONFIGURES) or "content" in task.content.get("ansible.builtin.copy", {})


def expression(text: str, **variables: Any) -> Any:
    """What Ansible makes of a text."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    return Templar(DataLoader(), variables=variables).template(text)


def test_every_change_of_a_configuration_is_noticed() -> None:
    writing = [task for task in tasks() if configures(task)]
    files = {task.file.relative_to(ROLES).as_posix() for task in writing}
    assert files >= UNSERVED.keys()
    served = [task for task in writing if task.file.relative_to(ROLES).as_posix() not in UNSERVED]
    assert {(task.role, task.content.get("register")) for task in served} == {
        (role, name) for role, name in RESTARTED if role != "galera"
    }, "galera's configuration is written by the Ansible role mariadb"


@pytest.mark.parametrize(("role", "result"), RESTARTED)
def test_a_service_is_restarted_when_its_configuration_changed(role: str, result: str) -> None:
    mine = [task for task in tasks() if task.role == role]
    reasons = [f"{result} is changed"]
    reasons += [
        name
        for task in mine
        for name, value in task.content.get("ansible.builtin.set_fact", {}).items()
        if reasons[0] in str(value)
    ]
    whens = [task for task in mine if any(reason in str(task.content.get("when")) for reason in reasons)]
    restarts = [task.name for task in whens if "restart" in str(task.arguments)]
    states = [task.content.get("ansible.builtin.systemd_service", {}).get("state", "") for task in mine]
    deciding = [state for state in states if reasons[0] in state]
    for state in deciding:
        others = {name: {"changed": False} for _, name in RESTARTED}
        assert expression(state, **others, memcached_enabled=True) == "started"
        assert expression(state, **others | {result: {"changed": True}}, memcached_enabled=True) == "restarted"
    assert len(restarts) + len(deciding) > 0


def test_postgresql_reads_its_files_again_and_restarts_for_what_waits() -> None:
    assert "pg_reload_conf()" in template("postgresql", "live.sql.j2")
    configuring = [task.content for task in tasks() if task.file == ROLES / "postgresql" / "tasks" / "configure.yml"]
    last_written = max(number for number, one in enumerate(configuring) if "written_files" in one)
    read, restart = (
        next(number for number, one in enumerate(configuring) if found in str(one))
        for found in ("'ansible.builtin.include_tasks': 'live.yml'", "'state': 'restarted'")
    )
    assert last_written < read < restart
    assert configuring[restart]["when"] == "__postgresql_pending | length > 0"
