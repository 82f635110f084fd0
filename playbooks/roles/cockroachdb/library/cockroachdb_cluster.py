#!/usr/bin/python
"""Ansible module: what one node is asked about all of them: make a cluster of them, wait until it is whole."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cockroachdb_client import NODE, Client, Refused, client, line, wait

DOCUMENTATION = r"""
module: cockroachdb_cluster
short_description: Initialise a CockroachDB cluster, or wait until every node and range is well
options:
  node: {type: dict, required: true, description: The node that is asked.}
  state:
    type: str
    required: true
    choices: [initialised, whole]
    description:
      - C(initialised) makes one cluster of the nodes that wait for it; one that exists is left as it is.
      - C(whole) waits for O(servers) to be live and for every range to have its replicas, and looks at the licence.
  servers: {type: dict, default: {}, description: 'Name of every node -> address:port.'}
  version: {type: str, default: "", description: 'Release, like C(v25.4.11).'}
  initialised_at: {type: str, default: "", description: 'When the cluster was made (ISO 8601).'}
  licensed: {type: bool, default: false, description: Whether a licence key was given.}
  timeout_s: {type: int, default: 120, description: 'How long that may take, in seconds.'}
author: enos_crdb
"""

EXAMPLES = r"""
- name: Make a cluster
  cockroachdb_cluster: {node: {address: 10.0.0.1}, state: initialised}
"""

RETURN = r"""
initialised_at: {description: When the cluster was made., type: str, returned: for state initialised}
age_days: {description: Age of the cluster., type: float, returned: for state whole}
nodes: {description: What `cockroach node status` says., type: list, returned: for state whole}
"""

GRACE_DAYS = 7
"""How long a new cluster without a licence key is not throttled."""
WARNED_DAYS = 6
ENFORCED = {(23, 1): 29, (23, 2): 15, (24, 1): 7, (24, 2): 5}
"""Line of releases -> first patch that throttles; later lines always do, earlier ones never."""
THROTTLED = "maximum number of concurrently open transactions"
PROBES = 7
"""Transactions at once that show a throttled cluster: it takes five."""


def throttles(version: str) -> bool:
    """Whether this release throttles a cluster whose grace period is over."""
    found = line(version)
    if found >= (24, 3):
        return True
    patch = int(version.split(".")[2].split("-", maxsplit=1)[0])
    return found in ENFORCED and patch >= ENFORCED[found]


def age_days(initialised_at: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(initialised_at)).total_seconds() / 86400


def throttled(node: Client) -> str:
    """The server's words when it throttles, else nothing."""

    def probe(_: int) -> str:
        try:
            node.sql("BEGIN; SELECT pg_sleep(1); COMMIT")
        except Refused as refusal:
            return str(refusal)
        return ""

    with ThreadPoolExecutor(max_workers=PROBES) as pool:
        return next((said for said in pool.map(probe, range(PROBES)) if THROTTLED in said), "")


def licence(node: Client, asked: dict[str, Any], age: float) -> tuple[str, str]:
    """(refusal, warning) about the licence; empty when there is nothing to say."""
    if len(asked["servers"]) < 2 or not throttles(asked["version"]):
        return "", ""
    remedy = (
        "give database.license_file, or make the cluster anew: `destroy --hosts keep`, then `deploy` (a cluster of "
        f"less than {GRACE_DAYS} days needs no licence)"
    )
    said = throttled(node) if asked["licensed"] or age > WARNED_DAYS else ""
    if said:
        return f"the cluster is throttled, so nothing measured on it would count; {remedy}. It says: {said}", ""
    if not asked["licensed"] and age > GRACE_DAYS:
        limit = f"after {GRACE_DAYS} it takes five transactions at once"
        return f"the cluster is {age:.1f} days old and has no licence: {limit}; {remedy}.", ""
    if not asked["licensed"] and age > WARNED_DAYS:
        return "", f"the cluster is {age:.1f} days old: without a licence it is throttled after {GRACE_DAYS}; {remedy}."
    return "", ""


def initialise(node: Client, timeout_s: int) -> bool:
    """Make the cluster; whether it was made now. Raises `Refused`."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            node.run("init", timeout_s=timeout_s)
            return True
        except Refused as refusal:
            if "already been initialized" in str(refusal):
                return False
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def missing(status: list[dict[str, str]], servers: dict[str, str]) -> list[str]:
    """Names of the nodes that are not live."""
    live = {row["address"] for row in status if row.get("is_live") == "true" and row.get("is_available") == "true"}
    return sorted(name for name, server in servers.items() if server not in live)


def unwell(status: list[dict[str, str]], column: str) -> int:
    """Ranges that lack replicas or a quorum, as the live nodes count them (a dead one's count is an old one)."""
    counts = [row.get(column) or "0" for row in status if row.get("is_live") == "true"]
    return sum(int(count) for count in counts if count.isdigit())


def whole(node: Client, servers: dict[str, str], timeout_s: int) -> tuple[list[dict[str, str]], str]:
    """Wait for nodes and replicas; (last status, what is missing)."""
    last: list[dict[str, str]] = []
    trouble = ""

    def good() -> bool:
        nonlocal last, trouble
        try:
            last = node.status()
        except Refused as refusal:
            trouble = f"`cockroach node status` failed: {refusal}"
            return False
        absent, lacking = missing(last, servers), unwell(last, "ranges_underreplicated")
        lost = unwell(last, "ranges_unavailable")
        trouble = f"{', '.join(absent)} did not join the cluster, or left it" if absent else ""
        if not absent and (lacking or lost):
            trouble = f"{lacking} ranges lack replicas and {lost} have no quorum"
        return not trouble

    wait(timeout_s, good, 1)
    return last, trouble


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "node": NODE,
            "state": {"type": "str", "required": True, "choices": ["initialised", "whole"]},
            "servers": {"type": "dict", "default": {}},
            "version": {"type": "str", "default": ""},
            "initialised_at": {"type": "str", "default": ""},
            "licensed": {"type": "bool", "default": False},
            "timeout_s": {"type": "int", "default": 120},
        }
    )
    asked, node, now = module.params, client(module.params["node"]), datetime.now(timezone.utc)
    if asked["state"] == "initialised":
        try:
            made = initialise(node, asked["timeout_s"])
        except Refused as refusal:
            module.fail_json(msg=f"the cluster could not be initialised within {asked['timeout_s']} s: {refusal}")
        module.exit_json(changed=made, initialised_at=now.isoformat(timespec="seconds"))
    status, trouble = whole(node, asked["servers"], asked["timeout_s"])
    if trouble:
        module.fail_json(msg=f"the cluster is not whole after {asked['timeout_s']} s: {trouble}.")
    age = age_days(asked["initialised_at"], now) if asked["initialised_at"] else 0.0
    hindrance, warning = licence(node, asked, age)
    if hindrance:
        module.fail_json(msg=hindrance)
    if warning:
        module.warn(warning)
    module.exit_json(changed=False, age_days=round(age, 3), nodes=status)


if __name__ == "__main__":
    main()
