#!/usr/bin/python
"""Ansible module: several small files at once, for one task and one round trip instead of one per file."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: written_files
short_description: Write several small files in one task
description:
  - Writes each file of O(files) when its content, owner or mode differs, atomically. Parent directories are made.
  - C(ansible.builtin.copy) in a loop does the same in one round trip per file, half a second each.
  - With O(only), other files in the directories it names are removed (a key that was withdrawn must go), and the
    directories get the owner of what is in them and its mode, entering where it reads.
options:
  files:
    description: The files; C(mode) is an octal string.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {type: path, required: true, description: Absolute path.}
      content: {type: str, required: true, description: The whole content.}
      owner: {type: str, default: root, description: Name of the owner.}
      group: {type: str, default: root, description: Name of the group.}
      mode: {type: str, default: "0644", description: Permissions.}
  only:
    description: Directories in which nothing but O(files) may be, private if they are.
    type: list
    elements: path
    default: []
author: enos_crdb
"""

EXAMPLES = r"""
- name: Write two keys
  written_files:
    files:
      - {path: /etc/keystone/fernet-keys/0, content: "...", owner: keystone, group: keystone, mode: "0600"}
      - {path: /etc/keystone/fernet-keys/1, content: "...", owner: keystone, group: keystone, mode: "0600"}
    only: [/etc/keystone/fernet-keys]
"""

RETURN = r"""
paths:
  description: Files that were written or removed.
  type: list
  returned: always
"""

FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0644"},
}


def write(module: AnsibleModule, file: dict[str, Any]) -> bool:
    """Bring one file to what `file` says; whether anything differed."""
    path, content = file["path"], file["content"].encode()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    changed = not (os.path.isfile(path) and _read(path) == content)
    if changed and not module.check_mode:
        handle, partial = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        module.set_fs_attributes_if_different(_attributes(partial, file), False)
        module.atomic_move(partial, path)
    return bool(module.set_fs_attributes_if_different(_attributes(path, file), changed))


def enclose(module: AnsibleModule, directory: str, file: dict[str, Any]) -> bool:
    """Let only those who may read `file` enter its `directory` (Keystone warns of keys the world could list)."""
    readable = int(file["mode"], 8)
    mode = readable | (readable & 0o444) >> 2
    return bool(module.set_fs_attributes_if_different(_attributes(directory, {**file, "mode": f"{mode:04o}"}), False))


def foreign(directory: str, paths: set[str]) -> list[str]:
    """Files of `directory` that are not among `paths`."""
    entries = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return [path for name in entries if (path := os.path.join(directory, name)) not in paths]


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _attributes(path: str, file: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": path,
        "owner": file["owner"],
        "group": file["group"],
        "mode": file["mode"],
        "secontext": [],
        "attributes": None,
    }


def main() -> None:
    """Entry point that Ansible calls."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": FILE},
            "only": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    files = module.params["files"]
    changed = [file["path"] for file in files if write(module, file)]
    for directory in module.params["only"]:
        inside = next((file for file in files if os.path.dirname(file["path"]) == directory), None)
        if inside and enclose(module, directory, inside):
            changed.append(directory)
        for path in foreign(directory, {file["path"] for file in files}):
            if not module.check_mode:
                os.unlink(path)
            changed.append(path)
    module.exit_json(changed=bool(changed), paths=changed)


if __name__ == "__main__":
    main()
