#!/usr/bin/python
"""Ansible module: unit files and certificates of a node, in one task, and what the node was before."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: cockroachdb_files
short_description: Write the files a CockroachDB node is started with
description:
  - Files of O(only) that are not among O(files) are removed (a certificate that was withdrawn must go).
  - The kind of store cannot change while the node holds data, because what it holds would be hidden or lost.
options:
  files:
    description: The files; C(mode) is an octal string.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {type: path, required: true, description: Absolute path.}
      content: {type: str, required: true, description: The whole content.}
      owner: {type: str, default: root, description: Name of the owner and of the group.}
      mode: {type: str, default: "0644", description: Permissions.}
  only: {type: list, elements: path, default: [], description: Directories in which nothing but O(files) may be.}
  records: {type: dict, required: true, description: 'Kind of store -> file that says since when its cluster exists.'}
  store: {type: str, required: true, description: 'C(disk), C(tmpfs) or C(memory).'}
author: enos_crdb
"""

EXAMPLES = r"""
- name: Write a unit
  cockroachdb_files:
    files: [{path: /etc/systemd/system/cockroach.service, content: "..."}]
    records: {disk: /var/lib/cockroach/cluster.json}
    store: disk
"""

RETURN = r"""
running: {description: Whether the node runs., type: bool, returned: always}
record: {description: 'What O(records) holds, empty before the first start.', type: dict, returned: always}
"""

FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "owner": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0644"},
}


def differs(file: dict[str, Any]) -> bool:
    if not os.path.isfile(file["path"]):
        return True
    with open(file["path"], "rb") as stream:
        return bool(stream.read() != file["content"].encode())


def write(module: AnsibleModule, file: dict[str, Any]) -> bool:
    """Bring one file to what `file` says; whether anything differed."""
    path, content, changed = file["path"], file["content"].encode(), differs(file)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    if changed:
        handle, partial = tempfile.mkstemp(dir=module.tmpdir)  # 0600 from the beginning
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        module.set_fs_attributes_if_different(attributes(partial, file), False)
        module.atomic_move(partial, path)
    return bool(module.set_fs_attributes_if_different(attributes(path, file), changed))


def attributes(path: str, file: dict[str, Any]) -> dict[str, Any]:
    owner, mode = file["owner"], file["mode"]
    none = {"secontext": [None, None, None], "attributes": None}
    return {"path": path, "owner": owner, "group": owner, "mode": mode, **none}


def strangers(directories: list[str], files: list[dict[str, Any]]) -> list[str]:
    wanted = {file["path"] for file in files}
    there = [os.path.join(place, name) for place in directories if os.path.isdir(place) for name in os.listdir(place)]
    return [path for path in there if path not in wanted and os.path.isfile(path)]


def known(path: str) -> dict[str, Any]:
    """A record; empty when there is none."""
    if not os.path.exists(path):
        return {}
    with open(path) as stream:
        return dict(json.load(stream))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": FILE},
            "only": {"type": "list", "elements": "path", "default": []},
            "records": {"type": "dict", "required": True},
            "store": {"type": "str", "required": True},
        }
    )
    asked = module.params
    held = [record for record in map(known, asked["records"].values()) if record]
    if held and held[0].get("store") != asked["store"]:
        module.fail_json(
            msg=f"this node keeps its data in '{held[0].get('store')}', but database.store says '{asked['store']}': "
            "the data cannot move. Run `destroy --hosts keep`, then `deploy` with the new one."
        )
    unit = subprocess.run(["systemctl", "is-active", "cockroach"], capture_output=True, text=True, check=False)
    running = unit.stdout.strip() in ("active", "activating", "reloading")
    if running and asked["store"] == "memory" and any(map(differs, asked["files"])):
        module.fail_json(
            msg="options changed that need a restart, but this node keeps its data in memory and would lose them. "
            "Run `destroy --hosts keep`, then `deploy`."
        )
    changed = [file["path"] for file in asked["files"] if write(module, file)]
    for path in strangers(asked["only"], asked["files"]):
        os.unlink(path)
        changed.append(path)
    if changed:
        subprocess.run(["systemctl", "daemon-reload"], capture_output=True, check=False)
    module.exit_json(changed=bool(changed), running=running, record=held[0] if held else {})


if __name__ == "__main__":
    main()
