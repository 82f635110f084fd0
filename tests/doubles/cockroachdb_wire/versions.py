"""CockroachDB's versions, and which session variables each has."""

from __future__ import annotations

import re
from dataclasses import dataclass

DISTRIBUTION = "STAND-IN (PostgreSQL behind a proxy; not CockroachDB)"
"""What stands where CockroachDB says ``CCL``: nobody may take the double for it."""


@dataclass(frozen=True, order=True)
class Version:
    """A version of CockroachDB: a release line (25.4) and a patch."""

    year: int
    line: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> Version:
        """From ``25.4.11``, ``v25.4`` or the like. Raises `ValueError`."""
        found = re.fullmatch(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
        if not found:
            raise ValueError(f"not a version of CockroachDB: {text!r} (like 25.4.11)")
        return cls(int(found[1]), int(found[2]), int(found[3] or 0))

    def __str__(self) -> str:
        return f"{self.year}.{self.line}.{self.patch}"

    @property
    def release(self) -> str:
        """What documentation is addressed by: ``v25.4``."""
        return f"v{self.year}.{self.line}"

    @property
    def banner(self) -> str:
        """What ``SELECT version()`` says."""
        return f"CockroachDB {DISTRIBUTION} v{self} (x86_64-pc-linux-gnu, built 2026/01/01 00:00:00, go1.25.0)"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


POSTGRESQL_VERSION = "13.0.0"
"""The version of PostgreSQL that CockroachDB says it is compatible with (parameter ``server_version``)."""

SHARED_VARIABLES = _names(
    """
    application_name backslash_quote bytea_output client_encoding client_min_messages datestyle default_tablespace
    default_text_search_config default_transaction_isolation default_transaction_read_only enable_seqscan
    escape_string_warning extra_float_digits idle_in_transaction_session_timeout integer_datetimes intervalstyle
    lock_timeout max_identifier_length max_index_keys plan_cache_mode role row_security search_path server_encoding
    server_version server_version_num session_authorization standard_conforming_strings statement_timeout
    synchronize_seqscans synchronous_commit timezone transaction_isolation transaction_read_only
    """
)
"""Session variables that both CockroachDB and PostgreSQL have (cockroachdb/docs, v25.4/session-variables)."""

_SINCE_ALWAYS = _names(
    """
    copy_from_atomic_enabled copy_transaction_quality_of_service cost_scans_with_default_col_size crdb_version database
    default_int_size default_transaction_priority default_transaction_quality_of_service
    default_transaction_use_follower_reads disable_changefeed_replication disallow_full_table_scans distsql
    enable_auto_rehoming enable_create_stats_using_extremes enable_drop_enum_value
    enable_durable_locking_for_serializable enable_implicit_fk_locking_for_serializable
    enable_implicit_select_for_update enable_implicit_transaction_for_batch_statements enable_insert_fast_path
    enable_shared_locking_for_serializable enable_super_regions enable_zigzag_join enforce_home_region
    enforce_home_region_follower_reads_enabled expect_and_ignore_not_visible_columns_in_copy
    experimental_enable_hash_sharded_indexes force_savepoint_restart foreign_key_cascades_limit
    idle_in_session_timeout index_recommendations_enabled inject_retry_errors_enabled is_superuser
    large_full_scan_rows legacy_varchar_typing locality multiple_active_portals_enabled node_id null_ordered_last
    optimizer_push_offset_into_index_join optimizer_use_forecasts optimizer_use_histograms
    optimizer_use_improved_multi_column_selectivity_estimate optimizer_use_improved_zigzag_join_costing
    optimizer_use_lock_op_for_serializable optimizer_use_multicol_stats optimizer_use_not_visible_indexes
    prefer_lookup_joins_for_fks reorder_joins_limit require_explicit_primary_keys serial_normalization session_id
    session_user sql_safe_updates stub_catalog_tables tracing transaction_priority transaction_rows_read_err
    transaction_rows_read_log transaction_rows_written_err transaction_rows_written_log transaction_status
    transaction_timeout troubleshooting_mode_enabled use_declarative_schema_changer vectorize virtual_cluster_name
    """
)

OWN_VARIABLES: dict[str, Version] = {
    **{name: Version(23, 2) for name in _SINCE_ALWAYS},
    "autocommit_before_ddl": Version(24, 1),  # release notes of v24.1.0-alpha.1, #118440
    "optimizer_merge_joins_enabled": Version(24, 1),
    "optimizer_use_virtual_computed_column_stats": Version(24, 1),
    "plpgsql_use_strict_into": Version(24, 1),
    "optimizer_use_merged_partial_statistics": Version(24, 3),
    "always_distribute_full_scans": Version(25, 1),
    "distribute_group_by_row_count_threshold": Version(25, 1),
    "distribute_scan_row_count_threshold": Version(25, 1),
    "distribute_sort_row_count_threshold": Version(25, 1),
    "kv_transaction_buffered_writes_enabled": Version(25, 2),  # v25.2/architecture/transaction-layer
    "vector_search_beam_size": Version(25, 2),
    "create_table_with_schema_locked": Version(25, 3),  # release notes of v25.3.0-alpha.1, #143892
    "allow_unsafe_internals": Version(25, 4),  # release notes of v25.4.0-alpha.1, #151362
    "buffered_writes_implicit_txns_enabled": Version(26, 2),  # v26.2/architecture/transaction-layer
    "canary_stats_mode": Version(26, 2),
}
"""Session variables that only CockroachDB has, and since when.

Source: the tables of the pages vNN.N/session-variables (cockroachdb/docs, 2026-06), and what stands beside a line.
"""

AUTOCOMMIT_IS_DEFAULT = Version(25, 1)
"""First version that commits before a schema change by itself (release notes of v25.1: backward-incompatible)."""

READ_COMMITTED_IS_ENABLED = Version(24, 1)
"""First version with ``sql.txn.read_committed_isolation.enabled`` on; before, weaker levels become SERIALIZABLE
(release notes of v24.1.0; v23.2/transactions, isolation level upgrades)."""


def knows(version: Version, variable: str) -> bool:
    """Whether a session of `version` has `variable`."""
    since = OWN_VARIABLES.get(variable)
    return variable in SHARED_VARIABLES or (since is not None and since <= Version(version.year, version.line))
