#!/usr/bin/python
"""Ansible module: counters of one node, and what the cluster knows of itself, as files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cockroachdb_client import NODE, Client, Refused, client, internals

DOCUMENTATION = r"""
module: cockroachdb_export
short_description: Read a node's counters, write statistics to files
description:
  - Without O(directory) it returns the counters. With it, files are written there; a query that is refused is told in
    C(problems.json) and does not stop the others.
options:
  node: {type: dict, required: true, description: The node that is asked.}
  version: {type: str, required: true, description: 'Release, like C(v25.4.11).'}
  database: {type: str, required: true, description: Keystone's database.}
  directory: {type: path, default: "", description: Directory for the files; what is in it is replaced.}
  cluster: {type: bool, default: false, description: Whether to ask what is the same on every node as well.}
  record: {type: path, default: "", description: File that says since when the cluster exists.}
author: enos_crdb
"""

EXAMPLES = r"""
- name: Counters
  cockroachdb_export: {node: {address: 10.0.0.1}, version: v25.4.11, database: keystone}
"""

RETURN = r"""
counters: {description: Name -> number., type: dict, returned: without directory}
problems: {description: What could not be had., type: list, returned: with directory}
"""

COUNTED = re.compile(
    r"sql_(select|insert|update|delete|query|ddl|misc)_count|sql_txn_(begin|commit|rollback|abort)_count"
    r"|sql_(conns|new_conns|failure_count|full_scan_count|statements_active|txns_open|txn_contended_count"
    r"|distsql_contended_queries_count|mem_root_current|bytesin|bytesout|service_latency_(sum|count)"
    r"|txn_latency_(sum|count)|exec_latency_(sum|count)|statements_auto_retry_count|transactions_auto_retry_count)"
    r"|txn_(aborts|commits|commits1PC|commits_read_only|rollbacks_failed|durations_(sum|count)|refresh_\w+"
    r"|restarts_\w+?)"
    r"|distsender_(rpc_sent|rpc_sent_local|rpc_sent_nextreplicaerror|batches|batches_partial|errors_\w+)"
    r"|kv_concurrency_(lock_wait_queue_waiters|locks|avg_lock_wait_duration_nanos)"
    r"|leases_(transfers_success|success|error|expiration|epoch)|replicas(_leaseholders|_leaders)?|ranges(_\w+)?"
    r"|range_(splits|merges|adds|removes)|raft_(commandsapplied|rcvd_\w+|process_\w+_(sum|count))"
    r"|rebalancing_(writespersecond|readbytespersecond|queriespersecond)|capacity(_used|_available)?|livebytes|livecount"
    r"|storage_(wal_fsync_latency_(sum|count)|l0_sublevels|write_stalls)|rocksdb_(block_cache_(hits|misses)|compactions)"
    r"|clock_offset_(mean|std)nanos|liveness_(livenodes|heartbeatfailures|heartbeatsuccesses)|round_trip_latency_(sum|count)"
    r"|sys_(rss|cpu_user_ns|cpu_sys_ns|cpu_combined_percent_normalized|gc_pause_ns|goroutines|uptime)"
    r"|seconds_until_\w+_license_expiry|schedules_BACKUP_\w+|jobs_schema_change_resume_completed|gcbytesage|sysbytes"
)
"""What is kept around a scenario: load, transactions and their restarts, RPCs, leases, storage, clocks."""
SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{[^}]*\})? (\S+)(?: \d+)?")

PER_CLUSTER = {
    "settings.csv": "SHOW ALL CLUSTER SETTINGS",
    "zones.csv": "SHOW ZONE CONFIGURATIONS",
    "ranges.csv": "SHOW RANGES FROM DATABASE {database} WITH TABLES, DETAILS",
    "tables.csv": "SHOW TABLES FROM {database}.public",
    "jobs.csv": "SHOW JOBS",
    "statements.csv": "SELECT aggregated_ts, metadata, statistics FROM crdb_internal.statement_statistics "
    "WHERE metadata->>'db' = '{database}' ORDER BY (statistics->'statistics'->>'cnt')::INT8 DESC LIMIT 500",
    "transactions.csv": "SELECT aggregated_ts, metadata, statistics FROM crdb_internal.transaction_statistics "
    "WHERE app_name = '{database}' ORDER BY (statistics->'statistics'->>'cnt')::INT8 DESC LIMIT 500",
    "contention.csv": "SELECT * FROM crdb_internal.cluster_contention_events LIMIT 5000",
    "conflicts.csv": "SELECT collection_ts, blocking_txn_id, waiting_txn_id, contention_duration, contention_type, "
    "database_name, schema_name, table_name, index_name FROM crdb_internal.transaction_contention_events LIMIT 5000",
    "locks.csv": "SELECT database_name, table_name, index_name, lock_strength, durability, granted, contended, "
    "duration FROM crdb_internal.cluster_locks LIMIT 1000",
}
"""File -> query."""


def counters(text: str) -> dict[str, float]:
    """Counters of Prometheus' text format that `COUNTED` names, summed over their labels."""
    found: dict[str, float] = {}
    for sample in text.splitlines():
        match = SAMPLE.fullmatch(sample)
        if match and COUNTED.fullmatch(match[1]) and match[2] not in ("NaN", "+Inf", "-Inf"):
            found[match[1]] = found.get(match[1], 0) + float(match[2])
    return {name: int(value) if value.is_integer() else value for name, value in sorted(found.items())}


def status_vars(node: Client) -> str:
    text: str
    status, text = node.get("/_status/vars", timeout_s=20)
    if status != 200:
        raise Refused(f"GET /_status/vars gave {status or 'nothing'}: {text[:200]}")
    return text


def read(path: str) -> str:
    with open(path) as stream:
        return stream.read()


def export(node: Client, asked: dict[str, Any]) -> list[str]:
    """Write the files; what could not be had, a sentence each."""
    directory, problems = asked["directory"], []
    os.makedirs(directory, mode=0o755, exist_ok=True)
    for name in os.listdir(directory):
        os.unlink(os.path.join(directory, name))
    before = internals(asked["version"])
    wanted: dict[str, Callable[[], str]] = {"vars.prom": lambda: status_vars(node)}
    if asked["cluster"]:
        wanted["nodes.csv"] = lambda: node.run("node", "status", "--all", "--format=csv")
        for name, query in PER_CLUSTER.items():
            text = query.format(database=asked["database"])
            wanted[name] = lambda text=text: after(before, node.sql(*before, text, timeout_s=120))  # type: ignore[misc]
    if os.path.exists(asked["record"]):
        wanted["cluster.json"] = lambda: read(asked["record"])
    for name, ask in wanted.items():
        try:
            content = ask()
        except Refused as refusal:
            problems.append(f"{name}: {refusal}")
            continue
        with open(os.path.join(directory, name), "w") as stream:
            stream.write(content)
    with open(os.path.join(directory, "problems.json"), "w") as stream:
        json.dump(problems, stream, indent=1)
    return problems


def after(before: tuple[str, ...], printed: str) -> str:
    """What was printed after a line for each statement of `before`."""
    return printed.split("\n", len(before))[-1]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "node": NODE,
            "version": {"type": "str", "required": True},
            "database": {"type": "str", "required": True},
            "directory": {"type": "path", "default": ""},
            "cluster": {"type": "bool", "default": False},
            "record": {"type": "path", "default": ""},
        }
    )
    asked, node = module.params, client(module.params["node"])
    if asked["directory"]:
        module.exit_json(changed=False, problems=export(node, asked))
    try:
        module.exit_json(changed=False, counters=counters(status_vars(node)))
    except Refused as refusal:
        module.fail_json(msg=f"the node's counters cannot be read: {refusal}")


if __name__ == "__main__":
    main()
