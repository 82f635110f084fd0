"""The door to hosts, on this machine through Ansible's local connection: verdicts, messages, logs, secrets."""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import ansible, events, shipped
from enos_crdb.ansible import EnoslibAnsible, Listener, PlaybookResult, TaskFailure, forks
from enos_crdb.command import SubprocessRunner
from enos_crdb.errors import DeploymentError
from enos_crdb.masking import masked_text
from enos_crdb.model import Event, Host

PATHS = {"PYTHONPATH": str(Path(ansible.__file__).parents[1])}
SECRET = 's3cret"with\\quotes'

# what a failed task says


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        pytest.param({"msg": "no such file"}, "no such file", id="message"),
        pytest.param({"msg": "non-zero return code", "rc": 3, "stderr": "why"}, "why\n(exit status 3)", id="command"),
        pytest.param({"msg": "non-zero return code", "rc": 3, "stdout": "why"}, "why\n(exit status 3)", id="stdout"),
        pytest.param({"msg": "E: failed", "stderr": "detail"}, "E: failed\ndetail", id="message-and-detail"),
        pytest.param(
            {"msg": "MODULE FAILURE\nSee stdout/stderr", "module_stderr": "Traceback: boom", "rc": 1},
            "Traceback: boom\n(exit status 1)",
            id="module-failure",
        ),
        pytest.param(
            {
                "msg": "One or more items failed",
                "results": [{"failed": False, "msg": "a"}, {"failed": True, "msg": "b"}],
            },
            "b",
            id="item-of-a-loop",
        ),
        pytest.param({}, "no message; see the log", id="nothing"),
        pytest.param({"msg": ["several", "lines"]}, "['several', 'lines']", id="list"),
    ],
)
def test_the_part_that_tells_why_is_taken(payload: dict[str, Any], message: str) -> None:
    assert ansible.message_of(payload) == message


def result(*failures: TaskFailure) -> PlaybookResult:
    return PlaybookResult(playbook="x.yml", seconds=1, changed={}, failures=failures, log=Path("/logs/x.log"))


def failure(host: str, **changes: Any) -> TaskFailure:
    return TaskFailure(**{"host": host, "task": "install : Packages", "message": "no space", **changes})


def test_hosts_that_failed_alike_are_named_together() -> None:
    text = ansible.describe(result(failure("a"), failure("b"), failure("c", message="other")))
    assert text == (
        "a, b failed at «install : Packages»:\n  no space\nc failed at «install : Packages»:\n  other\n"
        "Full log: /logs/x.log"
    )


def test_a_host_that_does_not_answer_is_told_apart() -> None:
    text = ansible.describe(result(failure("a", unreachable=True, message="ssh: no route")))
    assert text.startswith("a cannot be reached:\n  ssh: no route\n")


def test_a_long_message_is_cut_from_its_beginning() -> None:
    text = ansible.describe(result(failure("a", message="x" * 5000 + "end")))
    assert len(text) < ansible.SHOWN_CHARACTERS + 200
    assert "xend\n" in text


def test_secrets_are_masked_as_they_are_and_as_json_writes_them() -> None:
    text = f"{SECRET} {json.dumps(SECRET)}"
    assert masked_text(text, [SECRET]) == '******** "********"'


def test_a_user_s_own_ansible_configuration_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\nforks = 77\ninject_facts_as_vars = True\n")
    (tmp_path / ".ansible.cfg").write_text("[defaults]\nforks = 77\n")
    code = (
        "import enos_crdb.ansible, enoslib\n"
        "from ansible import constants as C\n"
        "print(C.CONFIG_FILE, C.DEFAULT_FORKS, C.INJECT_FACTS_AS_VARS, C.DEFAULT_INTERNAL_POLL_INTERVAL)"
    )
    done = SubprocessRunner().run([sys.executable, "-c", code], cwd=tmp_path, env={"HOME": str(tmp_path), **PATHS})
    assert done.stdout.split() == [str(shipped.directory("playbooks") / "ansible.cfg"), "5", "False", "0.005"]


def test_who_does_not_use_vagrant_hears_nothing_of_it(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path), **PATHS}
    done = SubprocessRunner().run([sys.executable, "-c", "import enos_crdb, enoslib"], env=environment)
    assert done.stderr == ""


# what is recorded


def stats(**hosts: dict[str, int]) -> Event:
    counts = {"ok": 0, "changed": 0, "failures": 0, "unreachable": 0}
    return Event(kind="stats", data={"hosts": {name: {**counts, **values} for name, values in hosts.items()}})


def test_a_failure_that_a_rescue_mended_is_no_failure() -> None:
    listener = Listener(io.StringIO(), ())
    listener(Event(kind="failed", text="try", host="a", data={"msg": "first"}))
    listener(stats(a={"ok": 2, "changed": 1}))
    found = listener.result("x.yml", 1.0, Path("log"))
    assert found.failures == ()
    assert found.changed == {"a": 1}


def test_failures_count_when_ansible_never_came_to_its_statistics() -> None:
    listener = Listener(io.StringIO(), ())
    listener(Event(kind="failed", text="try", host="a", data={"msg": "first"}))
    assert [item.message for item in listener.result("x.yml", 1.0, Path("log")).failures] == ["first"]


def test_outputs_are_kept_by_host_and_name() -> None:
    listener = Listener(io.StringIO(), ())
    listener(Event(kind="ok", text="keystone : Read the version [output]", host="a", data={"stdout": "30"}))
    listener(Event(kind="ok", text="keystone : Something else", host="a", data={"stdout": "no"}))
    assert listener.result("x.yml", 1.0, Path("log")).outputs == {"a": {"Read the version": {"stdout": "30"}}}


def test_neither_the_log_nor_a_failure_shows_a_secret() -> None:
    stream = io.StringIO()
    listener = Listener(stream, [SECRET])
    listener(Event(kind="failed", text="connect", host="a", data={"msg": f"bad password {SECRET}", "cmd": [SECRET]}))
    said = stream.getvalue() + listener.result("x.yml", 1.0, Path("log")).failures[0].message
    assert "s3cret" not in said
    assert "bad password ********" in said


# real playbooks, run by EnOSlib on this machine


@pytest.fixture
def door(tmp_path: Path) -> EnoslibAnsible:
    (tmp_path / "logs").mkdir()
    return EnoslibAnsible(logs=tmp_path / "logs", control_path_dir=tmp_path / "cp", secrets=lambda: [SECRET])


def host(name: str, *roles: str, **variables: Any) -> Host:
    local = {"ansible_connection": "local", **variables}
    return Host(name=name, roles=roles, address="127.0.0.1", addresses={}, variables=local)


def playbook(directory: Path, tasks: str, *, hosts: str = "all") -> str:
    path = directory / "play.yml"
    head = f"- hosts: {hosts}\n  gather_facts: false\n  tasks:\n"
    path.write_text(head + textwrap.indent(textwrap.dedent(tasks).lstrip("\n"), "    "))
    return str(path)


def test_hosts_have_their_names_roles_and_variables(door: EnoslibAnsible, tmp_path: Path) -> None:
    play = playbook(
        tmp_path,
        """
        - name: Say who we are [output]
          ansible.builtin.debug:
            msg: "{{ inventory_hostname }} {{ group_names | sort | join(',') }} {{ mine }} {{ everybodys }}"
        """,
    )
    hosts = [host("database-1", "database", "keystone"), host("rally-1", "rally")]
    found = door.run(
        play,
        hosts,
        variables={"everybodys": "E"},
        host_variables={"database-1": {"mine": "D"}, "rally-1": {"mine": "R"}},
    )
    said = {name: outputs["Say who we are"]["msg"] for name, outputs in found.outputs.items()}
    assert said == {"database-1": "database-1 database,keystone D E", "rally-1": "rally-1 rally R E"}
    assert found.changed == {"database-1": 0, "rally-1": 0}


def test_where_a_user_s_python_looks_is_not_where_that_of_a_host_does(
    door: EnoslibAnsible, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host may be this very machine, whose environment Ansible's local connection hands on."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    play = playbook(tmp_path, "- name: Look [output]\n  ansible.builtin.command: sh -c 'echo [$PYTHONPATH]'\n")
    found = door.run(play, [host("a", "database")])
    assert found.outputs["a"]["Look"]["stdout"] == "[]"
    assert os.environ["PYTHONPATH"] == str(tmp_path)


def test_a_failed_task_is_told_with_host_task_message_and_log(door: EnoslibAnsible, tmp_path: Path) -> None:
    play = playbook(
        tmp_path,
        """
        - name: Break on one host
          ansible.builtin.command: sh -c 'echo because >&2; exit 4'
          when: inventory_hostname == 'b'
        """,
    )
    with pytest.raises(DeploymentError) as caught:
        door.run(play, [host("a", "database"), host("b", "database")])
    log = next((tmp_path / "logs").iterdir())
    assert str(caught.value) == f"b failed at «Break on one host»:\n  because\n  (exit status 4)\nFull log: {log}"
    assert '"rc": 4' in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_tolerated_failures_are_returned(door: EnoslibAnsible, tmp_path: Path) -> None:
    play = playbook(tmp_path, "- name: Break\n  ansible.builtin.fail:\n    msg: refused\n")
    found = door.run(play, [host("a", "database")], tolerate=True)
    assert [(item.host, item.message) for item in found.failures] == [("a", "refused")]


def test_a_mended_failure_does_not_stop_the_deployment(door: EnoslibAnsible, tmp_path: Path) -> None:
    play = playbook(
        tmp_path,
        """
        - name: Try
          block:
            - name: Break
              ansible.builtin.fail:
                msg: no
          rescue:
            - name: Mend
              ansible.builtin.command: "true"
        """,
    )
    found = door.run(play, [host("a", "database")])
    assert (found.failures, found.changed) == ((), {"a": 1})


def test_a_playbook_that_concerns_no_host_is_an_error(door: EnoslibAnsible, tmp_path: Path) -> None:
    play = playbook(tmp_path, "- name: Nothing\n  ansible.builtin.debug:\n", hosts="rally")
    with pytest.raises(DeploymentError, match="did nothing: no play of it matches"):
        door.run(play, [host("a", "database")])


def test_a_playbook_that_is_no_playbook_is_an_error(door: EnoslibAnsible, tmp_path: Path) -> None:
    play = playbook(tmp_path, "- name: Nothing\n  no.such.module:\n")
    with pytest.raises(DeploymentError, match=r"cannot be run by Ansible: couldn't resolve module/action 'no\.such"):
        door.run(play, [host("a", "database")])


def test_a_host_that_cannot_be_reached_is_told(door: EnoslibAnsible, tmp_path: Path) -> None:
    play = playbook(tmp_path, "- name: Nothing\n  ansible.builtin.command: 'true'\n")
    gone = host("gone", "database", ansible_connection="ssh", ansible_port=1)
    with pytest.raises(DeploymentError, match=r"^gone cannot be reached:\n"):
        door.run(play, [host("a", "database"), gone])


def test_secrets_stay_out_of_messages_and_logs(door: EnoslibAnsible, tmp_path: Path) -> None:
    play = playbook(
        tmp_path,
        """
        - name: Show it
          ansible.builtin.debug:
            msg: "{{ password }}"
        - name: Hidden by no_log
          ansible.builtin.command: sh -c 'echo hidden-value; exit 1'
          no_log: true
        """,
    )
    with pytest.raises(DeploymentError) as caught:
        door.run(play, [host("a", "database")], variables={"password": SECRET})
    said = str(caught.value) + next((tmp_path / "logs").iterdir()).read_text()
    assert "s3cret" not in said
    assert "hidden-value" not in said
    assert "Hidden by no_log" in said


def test_what_happens_is_published(door: EnoslibAnsible, tmp_path: Path) -> None:
    play = playbook(tmp_path, "- name: Change\n  ansible.builtin.command: 'true'\n")
    seen: list[Event] = []
    with events.listening(seen.append):
        door.run(play, [host("a", "database")])
    assert [event.kind for event in seen] == ["play", "task", "changed", "stats"]
    assert seen[0].data["tasks"] == 1


def test_over_a_gateway_not_all_hosts_are_connected_at_once() -> None:
    near = [Host(name=f"host-{n}", roles=(), address=f"10.0.0.{n}", addresses={}) for n in range(46)]
    far = [replace(host, variables={"gateway": "access.example.org"}) for host in near]
    assert (forks(near[:1]), forks(near), forks(far)) == (5, 46, 10)
