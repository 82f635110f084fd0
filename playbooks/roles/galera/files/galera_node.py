"""galera_node.py COMMAND [SECONDS [ADDRESS...]]: what one node of a Galera cluster can be asked to do.

Fed to the host's own Python (3.9 or newer) on stdin by the Ansible role. It prints one JSON object; a
failure is one sentence on stderr and status 1. Whether a node is well is never asked of systemd:
a unit can be active while its node is out of the cluster.

    state SECONDS         is the node in a primary component? Waits SECONDS for nodes that look for one another.
    halt SECONDS          stop the server; print how far its data got.
    bootstrap SECONDS ADDRESS...   start a new cluster from this node's data, if no other node runs.
    join SECONDS ADDRESS...        start the server and wait until it is in step with the cluster.
    restart SECONDS ADDRESS...     the same for a server that runs.

ADDRESS: of every other node on the network `database`.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

GRASTATE = Path("/var/lib/mysql/grastate.dat")
NOTHING = "00000000-0000-0000-0000-000000000000"
STATUS = "SHOW GLOBAL STATUS WHERE variable_name IN ('wsrep_cluster_status', 'wsrep_local_state_comment', "
STATUS += "'wsrep_cluster_size', 'wsrep_cluster_state_uuid', 'wsrep_ready')"


class Trouble(Exception):
    """Something to tell the user in one sentence."""


def run(*args: str, timeout_s: float = 20) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            args, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(args, 124, "", f"no end after {timeout_s:g} s")


def unit() -> str:
    """``active``, ``activating``, ``deactivating``, ``inactive`` or ``failed``."""
    return run("systemctl", "is-active", "mariadb").stdout.strip()


def last_words() -> str:
    lines = run(
        "journalctl", "--unit=mariadb", "--grep=ERROR", "--case-sensitive", "--lines=4", "--output=cat", "--no-pager"
    )
    return "Its log says:\n" + lines.stdout.strip()


def status() -> dict[str, str]:
    """Status variables by lower-case name; empty while the server does not answer SQL."""
    done = run("mariadb", "--batch", "--skip-column-names", "--connect-timeout=3", f"--execute={STATUS}", timeout_s=5)
    rows = (line.partition("\t") for line in done.stdout.splitlines()) if done.returncode == 0 else ()
    return {name.lower(): value for name, _, value in rows}


def primary(now: dict[str, str]) -> bool:
    return now.get("wsrep_cluster_status") == "Primary"


def synced(now: dict[str, str]) -> bool:
    return primary(now) and now.get("wsrep_local_state_comment") == "Synced" and now.get("wsrep_ready") == "ON"


def lost(now: dict[str, str]) -> bool:
    """Whether the server runs but gave up membership: only a new start brings it back."""
    return now.get("wsrep_local_state_comment") == "Inconsistent" or now.get("wsrep_cluster_status") == "Disconnected"


def described(now: dict[str, str]) -> dict[str, object]:
    return {
        "primary": primary(now),
        "synced": synced(now),
        "status": now.get("wsrep_cluster_status", ""),
        "state": now.get("wsrep_local_state_comment", ""),
        "size": int(now.get("wsrep_cluster_size", "0")),
        "cluster": now.get("wsrep_cluster_state_uuid", ""),
    }


def state(seconds: float) -> dict[str, object]:
    end = time.monotonic() + seconds
    now = status()
    while not primary(now) and not lost(now) and unit() in ("active", "activating") and time.monotonic() < end:
        time.sleep(0.25)
        now = status()
    return {"unit": unit(), **described(now)}


def grastate() -> dict[str, str]:
    """Fields of ``grastate.dat``; empty for data that never were in a cluster."""
    if not GRASTATE.exists():
        return {}
    fields = (line.partition(":") for line in GRASTATE.read_text().splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in fields}


def position() -> dict[str, object]:
    """History (``uuid``) and last transaction (``seqno``) of the data of a server that is stopped."""
    fields = grastate()
    history, seqno = fields.get("uuid", NOTHING), int(fields.get("seqno", "-1"))
    if history != NOTHING and seqno < 0:  # it crashed: only InnoDB knows
        found = re.search(r"([0-9a-f-]{36}):(-?\d+)", run("galera_recovery", timeout_s=120).stdout)
        if not found:
            raise Trouble(f"the position of its data cannot be recovered. {last_words()}")
        history, seqno = found[1], int(found[2])
    return {"uuid": "" if history == NOTHING else history, "seqno": seqno}


def halt(seconds: float) -> dict[str, object]:
    ran = unit() in ("active", "activating", "deactivating")
    if ran and run("systemctl", "stop", "mariadb", timeout_s=seconds).returncode == 124:
        run("systemctl", "kill", "--signal=SIGKILL", "mariadb")
        run("systemctl", "stop", "mariadb")
    run("systemctl", "reset-failed", "mariadb")
    return {"changed": ran, **position()}


def wait_synced(seconds: float) -> dict[str, str]:
    """Wait for `Synced`. A server that stops, gives up or is late is returned as it is."""
    end = time.monotonic() + seconds
    while True:
        now = status()
        if synced(now) or lost(now) or unit() == "failed" or time.monotonic() > end:
            return now
        time.sleep(0.1)


def somebody_listens(address: str) -> bool:
    try:
        socket.create_connection((address, 4567), timeout=2).close()
    except OSError:
        return False
    return True


def bootstrap(seconds: float, others: list[str]) -> dict[str, object]:
    if running := [address for address in others if somebody_listens(address)]:
        raise Trouble(f"a Galera process answers on {', '.join(running)}: a second cluster will not be started")
    if GRASTATE.exists():
        text = GRASTATE.read_text()
        GRASTATE.write_text(re.sub(r"safe_to_bootstrap:.*", "safe_to_bootstrap: 1", text))
    started = run("galera_new_cluster", timeout_s=seconds)
    now = wait_synced(seconds)
    if not synced(now):
        raise Trouble(f"it could not start a cluster ({started.stderr.strip()}). {last_words()}")
    return {"changed": True, **described(now)}


def start(seconds: float, action: str) -> dict[str, str]:
    run("systemctl", "reset-failed", "mariadb")
    run("systemctl", action, "--no-block", "mariadb")
    return wait_synced(seconds)


def join(seconds: float, action: str, others: list[str]) -> dict[str, object]:
    if not any(somebody_listens(address) for address in others):
        raise Trouble(
            f"none of the other Galera nodes ({', '.join(others)}, port 4567) can be reached from here: "
            "is the network `database` cut?"
        )
    now = start(seconds, action)
    reachable = [address for address in others if somebody_listens(address)]
    copied = reachable and not synced(now) and (lost(now) or unit() == "failed")
    if copied:
        # Its data do not follow from the cluster's: without its state file it takes a full copy.
        run("systemctl", "stop", "mariadb", timeout_s=60)
        GRASTATE.unlink(missing_ok=True)
        now = start(seconds, "start")
    if not synced(now):
        seen = ", ".join(reachable) or "none"
        raise Trouble(
            f"it is not in step with the cluster: unit {unit()}, cluster status "
            f"'{now.get('wsrep_cluster_status', '')}', state '{now.get('wsrep_local_state_comment', '')}'. Of the "
            f"other nodes, {seen} can be reached through the network `database`. {last_words()}"
        )
    return {"changed": True, "copied": bool(copied), **described(now)}


def main(command: str, seconds: float, addresses: list[str]) -> dict[str, object]:
    if command == "state":
        return state(seconds)
    if command == "halt":
        return halt(seconds)
    if command == "bootstrap":
        return bootstrap(seconds, addresses)
    return join(seconds, command.replace("join", "start"), addresses)


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])))
    except Trouble as trouble:
        sys.exit(str(trouble))
