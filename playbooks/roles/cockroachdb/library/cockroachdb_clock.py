#!/usr/bin/python
"""Ansible module: how far this host's clock is off, and what keeps it."""

from __future__ import annotations

import csv
import os
import platform
import re
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cockroachdb_client import wait

DOCUMENTATION = r"""
module: cockroachdb_clock
short_description: Let chrony keep the clock, and read its offset
description:
  - chrony follows the host's own time sources and, where those are silent, the host O(follow).
  - A container has the clock of its machine; chrony cannot steer it there and need not. What is read then is which
    machine that is.
options:
  follow: {type: str, default: "", description: Address of the host that the others follow; empty on that host itself.}
  clients: {type: str, required: true, description: Subnet of the hosts that may ask for the time.}
  limit_ms: {type: float, required: true, description: 'Largest offset (with its uncertainty), in milliseconds.'}
  timeout_s: {type: int, default: 60, description: 'How long chrony may take to find the time, in seconds.'}
author: enos_crdb
"""

EXAMPLES = r"""
- name: Read the clock
  cockroachdb_clock: {clients: 10.0.0.0/24, limit_ms: 200}
"""

RETURN = r"""
source: {description: "C(chrony) or C(machine).", type: str, returned: always}
offset_ms: {description: 'Largest possible offset from the true time, in ms.', type: float, returned: always}
machine: {description: Identity of the running kernel., type: str, returned: always}
"""

SNIPPET = "/etc/chrony/conf.d/enos_crdb.conf"
BOOTED = re.compile(r"(?m)^(?:btime|MemTotal:) .*$")


def read(path: str) -> str:
    with open(path) as stream:
        return stream.read()


def said(*words: str) -> tuple[int, str]:
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout + done.stderr


def offset_ms(tracking: str) -> float | None:
    """The largest possible offset in one line of ``chronyc -c tracking``; None while it follows nobody.

    The estimate, plus half of the delay and the dispersion up to the reference clock (RFC 5905's root distance).
    """
    fields = next(csv.reader([tracking.strip()]), [])
    if len(fields) < 14 or fields[13] == "Not synchronised":
        return None
    correction, delay, dispersion = (float(fields[column]) for column in (4, 10, 11))
    return (abs(correction) + delay / 2 + dispersion) * 1000


def tracking() -> float | None:
    status, text = said("chronyc", "-n", "-c", "tracking")
    return offset_ms(text) if status == 0 else None


def kernel() -> str:
    """Which running kernel this is, the same in all its containers (each has a ``boot_id`` of its own)."""
    marks = BOOTED.findall(read("/proc/stat") + read("/proc/meminfo"))
    return " ".join([platform.release(), *(" ".join(mark.split()) for mark in marks)])


def steer(follow: str, clients: str) -> bool:
    """Configure chrony; whether anything changed. The first host keeps the time where no better source is."""
    lines = [f"server {follow} iburst minpoll 2"] if follow else ["local stratum 10", f"allow {clients}"]
    content = "# Written by enos_crdb\n" + "\n".join(lines) + "\n"
    changed = not (os.path.exists(SNIPPET) and read(SNIPPET) == content)
    if changed:
        os.makedirs(os.path.dirname(SNIPPET), exist_ok=True)
        with open(SNIPPET, "w") as stream:
            stream.write(content)
    if changed or said("systemctl", "is-active", "--quiet", "chrony")[0]:
        said("systemctl", "enable", "--quiet", "chrony")
        said("systemctl", "restart", "chrony")
    return changed


def settled(limit_ms: float, timeout_s: int) -> float | None:
    """The offset once it is small enough, or the last one."""
    found = tracking()

    def near() -> bool:
        nonlocal found
        found = tracking()
        return found is not None and found <= limit_ms

    wait(timeout_s, near, 1)
    return found


def refusal(found: float | None, limit_ms: float) -> str:
    """Why this clock cannot be used, in a sentence with its remedy; empty when it can."""
    if found is None:
        return (
            "chrony follows no time source, so how far this clock is off is not known. Let the host reach an NTP "
            "server (UDP port 123), or the first database host on the network `database`; `chronyc sources` shows more."
        )
    if found > limit_ms:
        return (
            f"its clock is off by up to {found:.0f} ms, but CockroachDB's nodes may differ by {limit_ms:.0f} ms from "
            "the true time: they stop when they differ by more. Wait until chrony has brought it near "
            "(`chronyc tracking`), give better NTP servers, or raise database.max_offset_ms."
        )
    return ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "follow": {"type": "str", "default": ""},
            "clients": {"type": "str", "required": True},
            "limit_ms": {"type": "float", "required": True},
            "timeout_s": {"type": "int", "default": 60},
        }
    )
    asked = module.params
    machine = kernel()
    contained = said("systemd-detect-virt", "--container", "--quiet")[0] == 0
    changed = False if contained else steer(asked["follow"], asked["clients"])
    found = tracking()
    if found is None and contained:
        module.exit_json(changed=False, source="machine", offset_ms=0.0, machine=machine)
    if found is None or found > asked["limit_ms"]:  # a clock that was far off takes a while to come near
        found = settled(asked["limit_ms"], 0 if contained else asked["timeout_s"])
    if said_no := refusal(found, asked["limit_ms"]):
        module.fail_json(msg=said_no)
    module.exit_json(changed=changed, source="chrony", offset_ms=found and round(found, 3), machine=machine)


if __name__ == "__main__":
    main()
