"""The section ``database`` for backend ``cockroachdb``, and its rules that need the hosts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from enos_crdb.config.base import Section
from enos_crdb.config.settings import Settings, refuse_unsafe

OLDEST = (23, 2)
"""The oldest line that Keystone's package is tried with."""
BUFFERED_WRITES_SINCE = (25, 2)
"""The first line with the session variable ``kv_transaction_buffered_writes_enabled``."""

SESSION_OWN: Mapping[str, str] = {
    "default_transaction_isolation": "`isolation`",
    "transaction_isolation": "`isolation`",
    "kv_transaction_buffered_writes_enabled": "`buffered_writes`",
    **dict.fromkeys(("database", "search_path", "application_name", "role"), "Keystone's connection"),
}
"""Session variables that are decided elsewhere in the section, and where."""
CLUSTER_OWN: Mapping[str, str] = {
    "enterprise.license": "`license_file`",
    "diagnostics.reporting.enabled": "`telemetry`",
    "sql.txn.read_committed_isolation.enabled": "`isolation`",
    "sql.txn.read_committed_syntax.enabled": "`isolation`",
}


def _version(value: str) -> str:
    if not re.fullmatch(r"v\d+\.\d+\.\d+(-(alpha|beta|rc)\.\d+)?", value):
        raise ValueError(f"'{value}' is not a version of CockroachDB; write one in full, like v25.4.11")
    if line(value) < OLDEST:
        raise ValueError(f"'{value}' is older than v{OLDEST[0]}.{OLDEST[1]}, the oldest that Keystone is tried on")
    return value


def _absolute(value: str) -> str:
    if not PurePosixPath(value).is_absolute():
        raise ValueError(f"'{value}' must be an absolute path: the command may run in any directory")
    return value


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s@]+", value):
        raise ValueError(
            f"'{value}' is not the address of a mirror; write the directory that holds the archives, "
            "like https://mirror.example.org/cockroach (without a password)"
        )
    return value.rstrip("/")


def _digest(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError(f"'{value}' is not a SHA-256: it has 64 hexadecimal digits, as `sha256sum FILE` prints")
    return value.lower()


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} replicas survive no more failures than {value - 1}; give an odd number")
    return value


def _session(values: Settings) -> Settings:
    refuse_unsafe(values, r"[A-Za-z_][A-Za-z0-9_]*", SESSION_OWN)
    return values


def _cluster(values: Settings) -> Settings:
    refuse_unsafe(values, r"[A-Za-z_][A-Za-z0-9_.]*", CLUSTER_OWN)
    return values


def _tables(values: list[str]) -> list[str]:
    for name in values:
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
            raise ValueError(f"'{name}' is not the name of a table of Keystone")
    return values


def line(version: str) -> tuple[int, int]:
    """The line of releases: ``v25.4.11`` is of (25, 4)."""
    major, minor = version.removeprefix("v").split(".")[:2]
    return int(major), int(minor)


class MultiRegion(Section):
    """CockroachDB's multi-region SQL: a region is a site of ``machines``."""

    primary: str
    """The region whose nodes hold the leases and, with ``survive: zone``, the voting replicas."""
    survive: Literal["zone", "region"] = "zone"
    """Failure that the database survives: the loss of a zone, or of a region (needs three regions)."""
    global_tables: Annotated[list[str], AfterValidator(_tables)] = []
    """Tables with ``LOCALITY GLOBAL``: every region reads them locally, and writes wait for the clocks."""


class CockroachDB(Section):
    """A CockroachDB cluster: every host of role ``database`` is a node."""

    backend: Literal["cockroachdb"]
    version: Annotated[str, AfterValidator(_version)] = "v25.4.11"
    """The release, in full, like ``v25.4.11``."""
    binary: Annotated[str, AfterValidator(_absolute)] | None = None
    """File on this machine that is copied to the hosts instead of a download: the executable or the official .tgz."""
    mirror: Annotated[str, AfterValidator(_url)] | None = None
    """URL of a directory with the official archives and their ``.sha256sum`` files, instead of the official site."""
    sha256: Annotated[str, AfterValidator(_digest)] | None = None
    """SHA-256 of the archive, or of ``binary``; by default the published checksum."""
    store: Literal["disk", "tmpfs", "memory"] = "disk"
    """Where a node keeps its data. ``memory`` is lost when the process ends, ``tmpfs`` when the host stops."""
    store_mb: int = Field(default=2048, ge=640)
    """Size of a store in ``tmpfs`` or ``memory``, in MiB."""
    cache_mb: int = Field(default=256, ge=16)
    """Memory for the cache of the storage engine (``--cache``), in MiB."""
    sql_memory_mb: int = Field(default=256, ge=32)
    """Memory for running SQL statements (``--max-sql-memory``), in MiB."""
    max_offset_ms: int = Field(default=500, ge=10, le=10000)
    """Largest clock offset between nodes (``--max-offset``): beyond it they stop. Uncertain reads may wait as long."""
    replicas: Annotated[int, AfterValidator(_odd)] = Field(default=3, ge=1, le=15)
    """Replicas of each range (``num_replicas``); an odd number."""
    gc_ttl_s: int | None = Field(default=None, ge=10)
    """How long overwritten rows are kept in Keystone's tables (``gc.ttlseconds``); by default the server's value."""
    lease_regions: list[str] = []
    """Sites whose nodes should hold the leases, in order of preference (``lease_preferences``)."""
    constraints: dict[str, Annotated[int, Field(ge=1)]] = {}
    """How many replicas each site must hold, by site."""
    multi_region: MultiRegion | None = None
    """CockroachDB's multi-region SQL, instead of ``lease_regions`` and ``constraints``."""
    isolation: Literal["serializable", "read committed"] = "serializable"
    """Isolation level of Keystone's transactions, set for its SQL user."""
    buffered_writes: bool | None = None
    """Whether a transaction buffers its writes until COMMIT (from v25.2); by default the version's own choice."""
    session_settings: Annotated[Settings, AfterValidator(_session)] = {}
    """Any other session variable, for Keystone's SQL user."""
    cluster_settings: Annotated[Settings, AfterValidator(_cluster)] = {}
    """Any other cluster setting, unchanged."""
    insecure: bool = False
    """No TLS and no authentication at all (``--insecure``)."""
    telemetry: bool = False
    """Usage reports to Cockroach Labs; a free licence key requires them."""
    license_file: Annotated[str, AfterValidator(_absolute)] | None = None
    """File on this machine with a licence key. Without a key, a cluster is throttled after seven days."""
    join_timeout_s: int = Field(default=120, ge=5)
    """How long a node may take to join the cluster, in seconds."""
    haproxy: bool = False
    """Whether Keystone reaches the nodes through a haproxy on the hosts of role ``rally``."""
    reset_by: Literal["auto", "rows", "backup"] = "auto"
    """How a reset restores the fresh state: by writing the rows again, from a backup, or by the faster of the two as
    measured (``auto``)."""

    @model_validator(mode="after")
    def _the_options_fit_each_other(self) -> CockroachDB:
        if self.binary and self.mirror:
            raise ValueError("`binary` and `mirror` exclude each other: the file is copied, nothing is downloaded")
        if self.multi_region and (self.lease_regions or self.constraints):
            raise ValueError(
                "`multi_region` places replicas and leases itself; leave `lease_regions` and `constraints` out"
            )
        if sum(self.constraints.values()) > self.replicas:
            asked = sum(self.constraints.values())
            raise ValueError(f"`constraints` ask for {asked} copies, but `replicas` is {self.replicas}")
        if self.buffered_writes is not None and line(self.version) < BUFFERED_WRITES_SINCE:
            raise ValueError(f"`buffered_writes` exists from v25.2 on, and `version` is {self.version}; leave it out")
        return self


def misfits(options: CockroachDB, sites: Collection[str]) -> Iterator[str]:
    """What does not fit the nodes, whose sites are given one per node; each begins with the key to change."""
    nodes, known = len(sites), sorted(set(sites))
    if nodes < options.replicas:
        remedy = "`replicas: 1` for a cluster without copies" if nodes < 3 else f"at most {nodes} replicas"
        yield (
            f"database.replicas: {options.replicas} copies of each range need {options.replicas} machines of role "
            f"'database', but there are {nodes}; raise `count`, or choose {remedy}"
        )
    for region in (*options.lease_regions, *options.constraints):
        if region not in known:
            key = "lease_regions" if region in options.lease_regions else "constraints"
            yield f"database.{key}: no database machine is at site '{region}'; the sites are {', '.join(known)}"
    wide = options.multi_region
    if wide and wide.primary not in known:
        where = f"no database machine is at site '{wide.primary}'; the sites are {', '.join(known)}"
        yield f"database.multi_region.primary: {where}"
    if wide and wide.survive == "region" and len(known) < 3:
        yield f"database.multi_region.survive: surviving the loss of a region takes 3 sites, but there are {len(known)}"
