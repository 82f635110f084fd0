#!/usr/bin/python
"""Ansible module: the cockroach executable, from an archive or a file, looked at before it is believed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: cockroachdb_binary
short_description: Install the cockroach executable
description:
  - Without O(archive), only tells whether it is there (C(missing)).
  - A binary of another architecture or another release than O(version) is refused, and what was there stays.
options:
  version: {type: str, required: true, description: 'Release, like C(v25.4.11).'}
  origin: {type: str, required: true, description: Where it comes from; another origin is installed anew.}
  directory: {type: path, required: true, description: Directory that gets a directory per release.}
  link: {type: path, required: true, description: Symbolic link to the executable.}
  archive: {type: path, default: "", description: 'The official .tgz, or the executable itself; it is removed.'}
author: enos_crdb
"""

EXAMPLES = r"""
- name: Install
  cockroachdb_binary:
    version: v25.4.11
    origin: https://binaries.example.org/cockroach-v25.4.11.linux-amd64.tgz
    directory: /opt/enos_crdb/cockroach
    link: /usr/local/bin/cockroach
    archive: /opt/enos_crdb/cockroach/download
"""

RETURN = r"""
missing: {description: Whether it had to be installed., type: bool, returned: always}
distribution: {description: 'What the binary says it is (C(CCL)).', type: str, returned: when installed}
"""

MACHINES = {62: "amd64", 183: "arm64"}
"""ELF's number of a machine -> its name in the name of an archive."""
HOSTS = {"x86_64": "amd64", "aarch64": "arm64"}


class Unfit(Exception):
    """Why the binary is not taken, in a sentence with its remedy."""


def machine(executable: str) -> str:
    """The architecture of an ELF file, "" for a script. Raises `Unfit` for anything else."""
    with open(executable, "rb") as stream:
        head = stream.read(20)
    if head.startswith(b"#!"):
        return ""
    if not head.startswith(b"\x7fELF"):
        raise Unfit("it is neither an executable nor the official .tgz. Give one of them as database.binary")
    return MACHINES.get(int.from_bytes(head[18:20], "little"), "another architecture")


def extract(archive: str, target: str) -> None:
    """Bring the executable from the archive, or the file itself, to `target`."""
    if not tarfile.is_tarfile(archive):
        shutil.copyfile(archive, target)
        return
    with tarfile.open(archive) as tar:
        inside = [member for member in tar if member.isfile() and os.path.basename(member.name) == "cockroach"]
        stream = tar.extractfile(inside[0]) if inside else None
        if stream is None:
            raise Unfit("the archive holds no file called cockroach. Give the official one, which does")
        with stream, open(target, "wb") as executable:
            shutil.copyfileobj(stream, executable)


def told(executable: str) -> dict[str, str]:
    """What ``cockroach version`` prints, by its lower-case label."""
    try:
        done = subprocess.run(
            [executable, "version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unfit(f"it cannot be run here ({error})") from None
    if done.returncode:
        raise Unfit(f"`cockroach version` ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return {name.strip().lower(): value.strip() for name, value in re.findall(r"(?m)^([^:\n]+):(.*)$", done.stdout)}


def examine(executable: str, version: str) -> str:
    """The distribution of `executable`. Raises `Unfit` unless it runs here and is `version`."""
    own, host = machine(executable), HOSTS.get(platform.machine(), platform.machine())
    if own and own != host:
        raise Unfit(f"it is a binary for {own}, but this host is {host}. Give the one for linux-{host}")
    os.chmod(executable, 0o755)
    known = told(executable)
    if known.get("build tag") != version:
        raise Unfit(
            f"it is release {known.get('build tag', '(unknown)')}, but {version} was asked for. "
            "Set database.version to the release of the file, or give another file"
        )
    return known.get("distribution", "")


def read(path: str) -> str:
    if not os.path.exists(path):
        return ""
    with open(path) as stream:
        return stream.read()


def install(module: AnsibleModule, place: str) -> str:
    os.makedirs(place, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=place)
    os.close(handle)
    try:
        extract(module.params["archive"], partial)
        distribution = examine(partial, module.params["version"])
        os.replace(partial, os.path.join(place, "cockroach"))
    finally:
        for left in (partial, module.params["archive"]):
            if os.path.exists(left):
                os.unlink(left)
    return distribution


def link(target: str, name: str) -> bool:
    if os.path.islink(name) and os.readlink(name) == target:
        return False
    partial = f"{name}.enos_crdb"
    os.symlink(target, partial)
    os.replace(partial, name)
    return True


def main() -> None:
    text = {"type": "str", "required": True}
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "version": text,
            "origin": text,
            "directory": path,
            "link": path,
            "archive": {"type": "path", "default": ""},
        }
    )
    asked: dict[str, Any] = module.params
    place = os.path.join(asked["directory"], asked["version"])
    executable, origin = os.path.join(place, "cockroach"), os.path.join(place, "origin")
    if not asked["archive"]:
        there = os.path.exists(executable) and read(origin) == asked["origin"]
        module.exit_json(changed=there and link(executable, asked["link"]), missing=not there)
    try:
        distribution = install(module, place)
    except (Unfit, tarfile.TarError, EOFError) as error:
        module.fail_json(msg=f"CockroachDB from {asked['origin']} cannot be used: {error}.")
    link(executable, asked["link"])
    with open(origin, "w") as stream:
        stream.write(asked["origin"])
    module.exit_json(changed=True, missing=True, distribution=distribution)


if __name__ == "__main__":
    main()
