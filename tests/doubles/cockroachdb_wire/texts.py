"""Errors as CockroachDB words them.

Sources, of cockroachdb/docs and cockroachdb/cockroach: vNN.N/transaction-retry-error-reference (40001),
vNN.N/common-errors#result-is-ambiguous and pkg/kv/kvpb/errors.go (40003), pkg/sql/row/errors.go and
pkg/sql/opt/exec/execbuilder (23505, 23503), pkg/util/cancelchecker (57014), pkg/sql/pgwire/pgwirebase (the fields).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .versions import Version

FIELDS = "SVCMDHnFLR"
"""Fields of an error that CockroachDB sends: no schema, table, column, position (ServerErrFieldType in pgwirebase)."""

_TRANSACTION = (
    '"sql txn" meta={id=07d42834 key=/Table/106/1/918951292305211393/0 iso=Serializable pri=0.01253025 epo=0 '
    "ts=1700512229.378453000,2 min=1700512130.342117000,0 seq=2} lock=true stat=PENDING "
    "rts=1700512130.342117000,0 wto=false gul=1700512130.842117000,0"
)
_RETRY = "restart transaction: TransactionRetryWithProtoRefreshError: "
_REASONS = {
    "retry_at_commit": (
        "TransactionRetryError: retry txn (RETRY_SERIALIZABLE - failed preemptive refresh due to conflicting locks on "
        "/Table/106/1/918951292305080321/0 [reason=wait_policy])",
        "retry_serializable",
    ),
    "retry_at_write": (
        "WriteTooOldError: write for key /Table/106/1/918951292305080321/0 at timestamp 1700512205.521833000,2 "
        "too old; must write at or above 1700512229.378453000,2",
        "retry_write_too_old",
    ),
    "retry_at_read": (
        "ReadWithinUncertaintyIntervalError: read at time 1700512205.521833000,2 encountered previous write with "
        "future timestamp 1700512205.900000000,0 within uncertainty interval `t <= (local=1700512206.000000000,0, "
        "global=1700512206.021833000,0)`; observed timestamps: [{1 1700512205.521833000,2}]",
        "readwithinuncertaintyintervalerror",
    ),
    "deadlock": ("TransactionAbortedError(ABORT_REASON_PUSHER_ABORTED)", "abort_reason_pusher_aborted"),
}

AMBIGUOUS = "result is ambiguous: error=rpc error: code = Unavailable desc = node unavailable; try another peer"
SHUTTING_DOWN = "server is shutting down"
AUTOCOMMITTED = "auto-committing transaction before processing DDL due to autocommit_before_ddl setting"


def retry(kind: str, version: Version) -> tuple[str, str]:
    """Message and hint of a 40001 of one kind."""
    reason, anchor = _REASONS[kind]
    page = f"https://www.cockroachlabs.com/docs/{version.release}/transaction-retry-error-reference.html#{anchor}"
    return f"{_RETRY}{reason}: {_TRANSACTION}", f"See: {page}"


def translate(fields: Mapping[str, str], verb: str, version: Version) -> dict[str, str]:
    """PostgreSQL's error `fields` as CockroachDB would send them for a statement with `verb`."""
    new = {name: value for name, value in fields.items() if name in FIELDS}
    message = new.get("M", "")
    match new.get("C", ""):
        case "40001":
            kind = "retry_at_commit" if verb in {"commit", "end"} else "retry_at_write"
            new["M"], new["H"] = retry(kind, version)
        case "40P01":
            new["C"] = "40001"
            new["M"], new["H"] = retry("deadlock", version)
        case "23505":
            new["D"] = _quoted_values(new.get("D", ""))
        case "23503":
            new["M"] = re.sub(r"^(insert or update|update or delete) on table", f"{verb} on table", message)
            new["D"] = _quoted_values(new.get("D", ""))
        case "23514":
            new["M"] = "failed to satisfy CHECK constraint (...)"
        case "57014" if "timeout" in message:
            new["M"] = "query execution canceled due to statement timeout"
        case "57014":
            new["M"] = "query execution canceled"
        case "57P01":
            new["M"] = SHUTTING_DOWN
    return new


def _quoted_values(detail: str) -> str:
    """``Key (a, b)=(1, x)`` with its values in quotes; unchanged when a value has a comma itself."""
    found = re.match(r"Key \((?P<columns>.*?)\)=\((?P<values>.*)\) (?P<rest>already|is )", detail)
    if not found:
        return detail
    values = found["values"].split(", ")
    if len(values) != len(found["columns"].split(", ")):
        return detail
    quoted = ", ".join(f"'{value}'" for value in values)
    return f"Key ({found['columns']})=({quoted}) {detail[found.start('rest') :]}"
