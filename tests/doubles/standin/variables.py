"""Names that CockroachDB knows and PostgreSQL does not, with what they are before anybody sets them."""

from __future__ import annotations

import re

CLUSTER = {
    "admission.kv.enabled": ("b", "true"),
    "cluster.organization": ("s", ""),
    "diagnostics.reporting.enabled": ("b", "true"),
    "enterprise.license": ("s", ""),
    "jobs.retention_time": ("d", "336h"),
    "kv.allocator.load_based_lease_rebalancing.enabled": ("b", "true"),
    "kv.allocator.load_based_rebalancing": ("e", "leases and replicas"),
    "kv.closed_timestamp.target_duration": ("d", "3s"),
    "kv.range_merge.queue.enabled": ("b", "true"),
    "kv.range_split.by_load.enabled": ("b", "true"),
    "kv.rangefeed.enabled": ("b", "false"),
    "kv.snapshot_rebalance.max_rate": ("z", "32 MiB"),
    "kv.transaction.write_buffering.enabled": ("b", "false"),
    "kv.transaction.write_pipelining.enabled": ("b", "true"),
    "server.time_until_store_dead": ("d", "5m"),
    "sql.defaults.idle_in_session_timeout": ("d", "0s"),
    "sql.insights.latency_threshold": ("d", "100ms"),
    "sql.metrics.statement_details.enabled": ("b", "true"),
    "sql.stats.automatic_collection.enabled": ("b", "true"),
    "sql.stats.automatic_collection.min_stale_rows": ("i", "500"),
    "sql.stats.flush.interval": ("d", "10m"),
    "sql.trace.slow_query.latency_threshold": ("d", "0s"),
    "sql.trace.txn.enable_threshold": ("d", "0s"),
    "sql.txn.read_committed_isolation.enabled": ("b", "true"),
    "sql.txn.repeatable_read_isolation.enabled": ("b", "false"),
    "timeseries.storage.enabled": ("b", "true"),
}
"""Cluster settings, their type and default (docs: cluster-settings)."""

ZONE = {
    "range_min_bytes": "134217728",
    "range_max_bytes": "536870912",
    "gc.ttlseconds": "14400",
    "num_replicas": "3",
    "num_voters": "",
    "constraints": "'[]'",
    "voter_constraints": "",
    "lease_preferences": "'[]'",
    "global_reads": "",
}
"""Variables of a zone and what RANGE default has (docs: configure-replication-zones)."""

UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def shown(kind: str, value: str) -> str:
    """A cluster setting as SHOW CLUSTER SETTING gives it: ``t``/``f``, and intervals as ``00:05:00``.

    Raises `ValueError` when it is not of its kind.
    """
    if kind == "b":
        if value.lower() not in ("true", "false", "on", "off", "t", "f", "yes", "no", "1", "0"):
            raise ValueError(f"could not parse {value!r} as type bool")
        return "t" if value.lower() in ("true", "on", "t", "yes", "1") else "f"
    if kind == "i":
        return str(int(value))
    if kind == "d":
        return _interval(value)
    return value


def _interval(value: str) -> str:
    if re.fullmatch(r"\d+:\d\d:\d\d(\.\d+)?", value):
        return value
    parts = re.findall(r"([\d.]+)\s*(ms|us|ns|h|m|s)", value)
    if not parts or "".join(a + b for a, b in parts) != value.replace(" ", ""):
        raise ValueError(f"could not parse {value!r} as type interval")
    seconds = sum(float(number) * UNIT_S[unit] for number, unit in parts)
    whole, rest = divmod(round(seconds, 6), 60)
    text = f"{int(whole) // 60:02d}:{int(whole) % 60:02d}:{rest:09.6f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
