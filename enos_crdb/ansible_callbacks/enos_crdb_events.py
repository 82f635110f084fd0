"""Ansible callback plugin: publish what happens on `enos_crdb.events`.

EnOSlib runs Ansible inside our process and has no parameter for callbacks, but Ansible's own loader picks
this file up once its directory is registered, and calls it in this process.
"""

from __future__ import annotations

import json
from typing import Any

from ansible.playbook.block import Block
from ansible.plugins.callback import CallbackBase

from enos_crdb.events import publish
from enos_crdb.model import Event

DOCUMENTATION = """
name: enos_crdb_events
type: aggregate
short_description: publish Ansible's events inside the enos_crdb process
description: [publish Ansible's events inside the enos_crdb process]
"""


PROGRESS = "[progress]"
"""At the end of the name of an Ansible task that is repeated until something ended: its JSON has ``milestones``."""


def _count(items: list[Any]) -> int:
    total = 0
    for item in items:
        if isinstance(item, Block):
            total += _count(item.block) + _count(item.always)
        elif not item.implicit and "meta" not in item.action:
            total += 1
    return total


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no type information
    """One `Event` per call; the listener decides what to show."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "enos_crdb_events"
    CALLBACK_NEEDS_ENABLED = False

    def v2_playbook_on_play_start(self, play: Any) -> None:
        publish(Event(kind="play", text=play.get_name(), data={"tasks": _count(play.compile())}))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        publish(Event(kind="task", text=task.get_name(), data={"path": task.get_path()}))

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        publish(Event(kind="task", text=task.get_name(), data={"path": task.get_path()}))

    def v2_runner_on_ok(self, result: Any) -> None:
        self._publish("changed" if result.is_changed() else "ok", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._publish("skipped", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._publish("ok" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._publish("unreachable", result)

    def v2_runner_retry(self, result: Any) -> None:
        self._publish("retry", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        hosts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        publish(Event(kind="stats", data={"hosts": hosts}))

    def _publish(self, kind: str, result: Any) -> None:
        task = result._task
        hidden = bool(task.no_log or result._result.get("_ansible_no_log"))
        shown = {"censored": "hidden by no_log", "rc": result._result.get("rc")} if hidden else dict(result._result)
        if hidden and "msg" in result._result:
            shown["msg"] = "hidden, because the task handles secrets (no_log)"
        publish(Event(kind=kind, text=task.get_name(), host=result._host.get_name(), data=shown))
        if task.get_name().endswith(PROGRESS) and not hidden and kind in ("ok", "retry"):
            self._milestones(result)

    def _milestones(self, result: Any) -> None:
        host = result._host.get_name()
        for text in json.loads(result._result["stdout"])["milestones"]:
            publish(Event(kind="progress", text=f"{host}: {text}", host=host))
