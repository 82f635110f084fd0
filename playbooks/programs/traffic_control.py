"""Show, install or remove the queueing disciplines of some interfaces of a host.

The request is JSON on stdin (``action``, ``addresses``, ``commands``); prints one JSON document.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

OWN_ROOT = {"kind": "htb", "handle": "1:"}  # what EnOSlib's commands make at the root of an interface
os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def listed(*command: str) -> Any:
    """What a program prints as JSON; nothing where it fails."""
    done = run(*command)
    return json.loads(done.stdout or "[]") if done.returncode == 0 else []


def devices(addresses: list[str]) -> dict[str, str]:
    """Address -> name of its interface, for those of `addresses` that the host has."""
    found = {}
    for link in listed("ip", "-json", "-4", "address", "show"):
        for item in link.get("addr_info", []):
            if item.get("local") in addresses:
                found[item["local"]] = link["ifname"]
    return found


def has_netem() -> tuple[bool, str]:
    """Can this kernel delay packets? Asked by doing it, in a network of its own, where it disturbs nobody."""
    done = run("unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    return done.returncode == 0, done.stderr.strip()


def survey(addresses: list[str]) -> dict[str, Any]:
    found = devices(addresses)
    netem, why = has_netem()
    names = set(found.values())
    return {
        "devices": found,
        "qdiscs": [qdisc for qdisc in listed("tc", "-json", "qdisc", "show") if qdisc.get("dev") in names],
        "netem": netem,
        "why": why,
        "changed": False,
    }


def apply(commands: list[str]) -> bool:
    for command in commands:
        done = run(*command.split())
        if done.returncode != 0:
            sys.exit(f"`{command}` ended with status {done.returncode}: {done.stderr.strip()}")
    return bool(commands)


def clear(addresses: list[str]) -> bool:
    cleared = False
    for qdisc in survey(addresses)["qdiscs"]:
        if qdisc.get("root") and OWN_ROOT.items() <= qdisc.items():
            done = run("tc", "qdisc", "del", "dev", qdisc["dev"], "root")
            if done.returncode != 0:
                sys.exit(f"{qdisc['dev']}: the rules cannot be removed: {done.stderr.strip()}")
            cleared = True
    return cleared


def main() -> None:
    request = json.load(sys.stdin)
    changed = False
    if request["action"] == "apply":
        changed = apply(request["commands"])
    elif request["action"] == "clear":
        changed = clear(request["addresses"])
    print(json.dumps({**survey(request["addresses"]), "changed": changed}))


if __name__ == "__main__":
    main()
