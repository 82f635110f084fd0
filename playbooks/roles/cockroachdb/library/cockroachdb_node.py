#!/usr/bin/python
"""Ansible module: one node of a CockroachDB cluster started, in the cluster, stopped, or gone."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import socket
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cockroachdb_client import NODE, Client, client, wait

DOCUMENTATION = r"""
module: cockroachdb_node
short_description: Start, restart, stop or remove one CockroachDB node
description:
  - systemd is asked to start it and never believed, because a node is started long before it is in a cluster. What
    counts is its own health endpoint.
options:
  node: {type: dict, required: true, description: 'Where the node answers: address, port, http_port, certificates.'}
  state:
    type: str
    required: true
    choices: [started, joined, restarted, asked, stopped, absent]
    description:
      - C(started) is the process; C(joined) waits until the node is in a cluster with a quorum, and writes O(record).
      - C(restarted) stops and starts it and waits as C(joined). C(asked) only tells whether it is well.
      - C(stopped) also keeps it from starting at boot; C(absent) removes O(paths) then.
  others: {type: list, elements: str, default: [], description: Addresses (host:port) of the nodes it looks for.}
  record: {type: path, default: "", description: File that says since when the cluster exists.}
  content: {type: dict, default: {}, description: What O(record) says when it does not exist.}
  paths: {type: list, elements: str, default: [], description: What C(absent) removes; patterns.}
  timeout_s: {type: int, default: 120, description: 'How long the node may take, in seconds.'}
author: enos_crdb
"""

EXAMPLES = r"""
- name: Start
  cockroachdb_node: {node: {address: 10.0.0.1}, state: started}
"""

RETURN = r"""
ready: {description: Whether the node takes connections., type: bool, returned: when asked}
"""

UNIT = "cockroach.service"
MOUNT = "var-lib-cockroach.mount"


def systemctl(*words: str, timeout_s: float = 330) -> str:
    try:
        done = subprocess.run(
            ["systemctl", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip()


def running() -> bool:
    return systemctl("is-active", UNIT) in ("active", "activating", "reloading")


def start() -> bool:
    enabled = systemctl("is-enabled", UNIT) == "enabled"
    if running() and enabled:
        return False
    systemctl("enable", "--quiet", UNIT)
    systemctl("reset-failed", UNIT)
    # Its readiness is asked over HTTP: what systemd is told before and after `init` depends on the release.
    systemctl("start", "--no-block", UNIT)
    return True


def stop() -> bool:
    there = running() or systemctl("is-enabled", UNIT) == "enabled"
    systemctl("disable", "--quiet", UNIT)
    # Draining waits for other nodes, which are being stopped as well.
    systemctl("kill", "--signal=SIGKILL", UNIT)
    systemctl("stop", UNIT)
    systemctl("reset-failed", UNIT)
    return there


def reachable(server: str) -> bool:
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError:
        return False
    return True


def last_words() -> str:
    """The last complaints of the node, from its log or from the journal."""
    try:
        with open("/var/log/cockroach/cockroach.log", errors="replace") as stream:
            lines = [text.strip() for text in stream.readlines()[-400:]]
    except OSError:
        lines = []
    worst = [text for text in lines if re.match(r"[EF]\d{6} ", text)]
    if not worst:
        journal = subprocess.run(
            ["journalctl", f"--unit={UNIT}", "--lines=4", "--output=cat", "--no-pager"],
            capture_output=True,
            text=True,
            check=False,
        )
        worst = journal.stdout.strip().splitlines()
    return " / ".join(text[:300] for text in worst[-3:]) or "nothing"


def absence(node: Client, others: list[str], timeout_s: int) -> str:
    """Why the node is in no cluster, as far as it can be seen from its host."""
    silent = [server for server in others if server != node.server and not reachable(server)]
    if not running():
        seen = f"its process does not run (unit {UNIT} is {systemctl('is-active', UNIT) or 'unknown'})"
    elif silent:
        seen = (
            f"its process runs, but cannot reach {', '.join(silent)} (is the network `database` cut, or a port "
            "blocked?)"
        )
    elif not reachable(node.server):
        seen = f"its process runs, but does not listen on {node.server}"
    else:
        seen = "its process runs and reaches the others, but they do not take it, or too few of them are there to agree"
    return f"this node did not join the cluster within {timeout_s} s: {seen}. Its log says: {last_words()}"


def remember(path: str, content: dict[str, Any]) -> bool:
    if not path or os.path.exists(path):
        return False
    with open(f"{path}.new", "w") as stream:
        json.dump(content, stream)
    os.replace(f"{path}.new", path)
    return True


def remove(patterns: list[str]) -> bool:
    changed = stop()
    if systemctl("is-active", MOUNT) == "active":
        systemctl("stop", MOUNT)
    for path in sorted({path for pattern in patterns for path in glob.glob(pattern)}):
        changed = True
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    systemctl("daemon-reload")
    return changed


def act(module: AnsibleModule, node: Client) -> dict[str, Any]:
    asked = module.params
    state = asked["state"]
    if state == "asked":
        return {"changed": False, "ready": node.ready()}
    if state == "started":
        return {"changed": start()}
    if state == "stopped":
        return {"changed": stop()}
    if state == "absent":
        return {"changed": remove(asked["paths"])}
    if state == "restarted":
        systemctl("restart", "--no-block", UNIT)
        wait(asked["timeout_s"], lambda: not node.ready(), 0.2)
    if not wait(asked["timeout_s"], node.ready):
        module.fail_json(msg=absence(node, asked["others"], asked["timeout_s"]))
    return {"changed": remember(asked["record"], asked["content"]) or state == "restarted"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "node": NODE,
            "state": {
                "type": "str",
                "required": True,
                "choices": ["started", "joined", "restarted", "asked", "stopped", "absent"],
            },
            "others": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "path", "default": ""},
            "content": {"type": "dict", "default": {}},
            "paths": {"type": "list", "elements": "str", "default": []},
            "timeout_s": {"type": "int", "default": 120},
        }
    )
    module.exit_json(**act(module, client(module.params["node"])))


if __name__ == "__main__":
    main()
