"""Names that CockroachDB knows and PostgreSQL does not, with what they are before anybody sets them."""

from __future__ import annotations

import re

SESSION = {
    "allow_unsafe_internals": "off",
    "autocommit_before_ddl": "on",
    "bypass_pcr_reader_catalog_aost": "off",
    "cost_scans_with_default_col_size": "off",
    "create_table_with_schema_locked": "off",
    "default_int_size": "8",
    "default_transaction_use_follower_reads": "off",
    "disallow_full_table_scans": "off",
    "distsql": "auto",
    "enable_auto_rehoming": "off",
    "enable_durable_locking_for_serializable": "off",
    "enable_experimental_alter_column_type_general": "on",
    "enable_implicit_select_for_update": "on",
    "enable_insert_fast_path": "on",
    "enable_multiregion_placement_policy": "off",
    "enable_multiple_modifications_of_table": "off",
    "enable_shared_locking_for_serializable": "off",
    "enable_super_regions": "off",
    "enable_zigzag_join": "off",
    "enforce_home_region": "off",
    "inject_retry_errors_enabled": "off",
    "inject_retry_errors_on_commit_enabled": "off",
    "intervalstyle_enabled": "on",
    "kv_transaction_buffered_writes_enabled": "off",
    "large_full_scan_rows": "0",
    "locality": "",
    "locality_optimized_partitioned_index_scan": "on",
    "max_retries_for_read_committed": "100",
    "multiple_active_portals_enabled": "off",
    "node_id": "",
    "null_ordered_last": "off",
    "on_update_rehome_row_enabled": "on",
    "optimizer_use_forecasts": "on",
    "optimizer_use_histograms": "on",
    "plan_cache_mode_enabled": "on",
    "prefer_lookup_joins_for_fks": "off",
    "reorder_joins_limit": "8",
    "results_buffer_size": "524288",
    "serial_normalization": "rowid",
    "sql_safe_updates": "off",
    "tracing": "off",
    "transaction_rows_read_err": "0",
    "transaction_rows_written_err": "0",
    "unconstrained_non_covering_index_scan_enabled": "off",
    "use_declarative_schema_changer": "on",
    "vectorize": "on",
}
"""Session variables (docs: session-variables)."""

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
