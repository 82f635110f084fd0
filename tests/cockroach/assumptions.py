"""Each thing that is believed of CockroachDB, because nobody could try it where this was written."""

from __future__ import annotations

from dataclasses import dataclass

DOCS = "https://www.cockroachlabs.com/docs/stable/"
ISSUES = "https://github.com/cockroachdb/cockroach/issues/"


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """``relied_on``: files of this project that are wrong when the sentence is. ``source``: why it is believed."""

    id: str
    sentence: str
    relied_on: tuple[str, ...]
    source: str


PACKAGE = "keystone_crdb/src/keystone_crdb/"
ROLE = "playbooks/roles/cockroachdb/"
CLIENT = ROLE + "module_utils/cockroachdb_client.py"
BACKEND = "enos_crdb/backends/cockroachdb.py"
RULES = "tests/doubles/cockroachdb_wire/rules.py"

ASSUMPTIONS = (
    # --- Keystone on one node ---
    Assumption(
        id="db-sync",
        sentence="`keystone-manage db_sync` of every offered release makes its whole schema, in AUTOCOMMIT",
        relied_on=(PACKAGE + "plugin.py", PACKAGE + "ddl.py", BACKEND),
        source="read in Keystone's migrations and the server's grammar; " + ISSUES + "55662",
    ),
    Assumption(
        id="db-sync-duration",
        sentence="db_sync on one node takes less than three minutes",
        relied_on=("enos_crdb/phases/deploy.py",),
        source=DOCS + "online-schema-changes (each statement is a job that waits for descriptor leases)",
    ),
    Assumption(
        id="migrations-command",
        sentence="`keystone_crdb migrations` runs every revision and passes",
        relied_on=(PACKAGE + "migrations.py",),
        source="the same statements as db_sync",
    ),
    Assumption(
        id="same-tables",
        sentence="the schema has the tables, unique constraints and foreign keys that PostgreSQL has",
        relied_on=(PACKAGE + "ddl.py", "tests/integration/test_wire_double.py"),
        source="pg_dump of PostgreSQL behind the wire double",
    ),
    Assumption(
        id="reflection",
        sentence="SQLAlchemy reflects the table `project`: columns, keys, indexes",
        relied_on=(PACKAGE + "migrations.py", "tests/doubles/cockroachdb_wire/rewriting.py"),
        source="Keystone's first migration reflects it; sqlalchemy-cockroachdb's own CI covers SQLAlchemy's suite",
    ),
    Assumption(
        id="bootstrap-twice",
        sentence="`keystone-manage bootstrap` can be repeated: duplicates are recognised",
        relied_on=(PACKAGE + "errors.py",),
        source="oslo.db has no filter for the dialect; ours go by SQLSTATE",
    ),
    Assumption(
        id="api",
        sentence="every API request gets the right answer, at the default isolation, one client",
        relied_on=(PACKAGE + "errors.py", PACKAGE + "drivers.py"),
        source="the same requests on PostgreSQL",
    ),
    Assumption(
        id="duplicate-is-conflict",
        sentence="creating what exists is answered with 409",
        relied_on=(PACKAGE + "errors.py",),
        source=DOCS + "unique",
    ),
    Assumption(
        id="retries",
        sentence="eight clients conflict at SERIALIZABLE, calls are replayed, and no answer is wrong",
        relied_on=(PACKAGE + "replay.py", PACKAGE + "arguments.py"),
        source=DOCS + "transaction-retry-error-reference",
    ),
    Assumption(
        id="read-committed",
        sentence="eight clients at READ COMMITTED get right answers too",
        relied_on=(PACKAGE + "plugin.py", BACKEND),
        source=DOCS + "read-committed",
    ),
    # --- SQL ---
    Assumption(
        id="banner",
        sentence="version() begins with `CockroachDB` and tells the release",
        relied_on=(ROLE + "library/cockroachdb_database.py", "tests/doubles/cockroachdb_wire/versions.py"),
        source="sqlalchemy-cockroachdb's probe reads it",
    ),
    Assumption(
        id="drop-unique-constraint",
        sentence="ALTER TABLE ... DROP CONSTRAINT of a unique constraint is 0A000 before v26.2 and works from there",
        relied_on=(PACKAGE + "ddl.py", RULES),
        source=ISSUES + "42840; release notes of v26.2",
    ),
    Assumption(
        id="drop-index-cascade",
        sentence="DROP INDEX t@i CASCADE drops a unique constraint, also of a table that was made schema_locked",
        relied_on=(PACKAGE + "ddl.py",),
        source=DOCS + "drop-index",
    ),
    Assumption(
        id="schema-locked-altered",
        sentence="ADD CONSTRAINT UNIQUE and ADD COLUMN work on a table that the release makes schema_locked",
        relied_on=(BACKEND,),
        source=DOCS + "with-storage-parameter (unlocked automatically)",
    ),
    Assumption(
        id="ddl-commits",
        sentence="autocommit_before_ddl is on from v25.2: DDL commits an open transaction",
        relied_on=(RULES, "tests/doubles/cockroachdb_wire/session.py"),
        source=DOCS + "session-variables",
    ),
    Assumption(
        id="serial",
        sentence="SERIAL is INT8 with unique_rowid()",
        relied_on=("docs/explanation/cockroachdb.md",),
        source=DOCS + "serial",
    ),
    Assumption(
        id="23505",
        sentence="a duplicate is 23505 with PostgreSQL's text and the constraint's name",
        relied_on=(PACKAGE + "errors.py", "tests/doubles/cockroachdb_wire/texts.py"),
        source=DOCS + "common-errors",
    ),
    Assumption(
        id="23503",
        sentence="a missing parent is 23503 with the constraint's name",
        relied_on=(PACKAGE + "errors.py",),
        source=DOCS + "foreign-key",
    ),
    Assumption(
        id="42P01",
        sentence="a missing table is 42P01, a missing database 3D000, an unknown variable 42704",
        relied_on=(PACKAGE + "errors.py", RULES),
        source="PostgreSQL's error codes",
    ),
    Assumption(
        id="40001",
        sentence="a write over a row that changed after it was read is 40001 `restart transaction: ...`",
        relied_on=(PACKAGE + "errors.py", "tests/doubles/cockroachdb_wire/texts.py"),
        source=DOCS + "transaction-retry-error-reference",
    ),
    Assumption(
        id="40001-read",
        sentence="a plain read inside a transaction can be answered with 40001",
        relied_on=(PACKAGE + "replay.py",),
        source=DOCS + "transaction-retry-error-example (inject_retry_errors_enabled)",
    ),
    Assumption(
        id="read-committed-level",
        sentence="what the plugin asks for as READ COMMITTED is that in the session, from v24.1 without a setting",
        relied_on=(PACKAGE + "plugin.py", BACKEND),
        source=DOCS + "read-committed",
    ),
    Assumption(
        id="session-settings",
        sentence="the plugin's session settings, and ALTER ROLE ... SET of the role, are what SHOW shows",
        relied_on=(PACKAGE + "plugin.py", ROLE + "library/cockroachdb_database.py"),
        source=DOCS + "alter-role",
    ),
    Assumption(
        id="buffered-writes",
        sentence="kv_transaction_buffered_writes_enabled exists from v25.2, and is on by default from v26.2",
        relied_on=("enos_crdb/config/cockroachdb.py",),
        source=DOCS + "session-variables; release notes of v26.2",
    ),
    Assumption(
        id="lost-connection",
        sentence="a stopped server is an error without SQLSTATE or 57P01..57P03, and the next connection is refused",
        relied_on=(PACKAGE + "errors.py",),
        source=DOCS + "node-shutdown",
    ),
    # --- what the Ansible role reads and writes ---
    Assumption(
        id="version-command",
        sentence="`cockroach version` prints `Build Tag:` with the release and `Distribution: CCL`",
        relied_on=(ROLE + "library/cockroachdb_binary.py", "enos_crdb/summary/contents.py"),
        source=DOCS + "cockroach-version",
    ),
    Assumption(
        id="unsafe-internals",
        sentence="the tables of crdb_internal that are exported can be read, from v26.1 after allow_unsafe_internals",
        relied_on=(CLIENT, ROLE + "library/cockroachdb_export.py"),
        source=DOCS + "crdb-internal",
    ),
    Assumption(
        id="ranges",
        sentence="SHOW RANGES ... WITH TABLES, DETAILS tells lease holder, its locality, replicas and size",
        relied_on=(ROLE + "library/cockroachdb_export.py",),
        source=DOCS + "show-ranges",
    ),
    Assumption(
        id="status-vars",
        sentence="/_status/vars has the counters that results are explained with: statements, restarts, RPCs, leases",
        relied_on=(ROLE + "library/cockroachdb_export.py",),
        source=DOCS + "prometheus-endpoint",
    ),
    Assumption(
        id="backup-restore",
        sentence="BACKUP and RESTORE ... new_db_name on nodelocal need no licence key in a young cluster",
        relied_on=(ROLE + "library/cockroachdb_fresh.py",),
        source=DOCS + "licensing-faqs",
    ),
    Assumption(
        id="rows-reset",
        sentence="TRUNCATE of all tables and INSERT ... SELECT bring the fresh rows back",
        relied_on=(ROLE + "library/cockroachdb_fresh.py",),
        source=DOCS + "truncate",
    ),
    Assumption(
        id="cancel-sessions",
        sentence="CANCEL SESSIONS ends the sessions of one user, who sees a lost connection",
        relied_on=(ROLE + "library/cockroachdb_fresh.py", PACKAGE + "errors.py"),
        source=DOCS + "cancel-session",
    ),
    Assumption(
        id="provisioning",
        sentence="database, user, cluster and session settings and zone are read back as they were set",
        relied_on=(ROLE + "library/cockroachdb_database.py", ROLE + "module_utils/cockroachdb_values.py"),
        source=DOCS + "show-default-session-variables-for-role and the pages of each statement",
    ),
    Assumption(
        id="not-throttled",
        sentence="a new cluster without a key takes more than five transactions at once",
        relied_on=(ROLE + "library/cockroachdb_cluster.py",),
        source=DOCS + "licensing-faqs",
    ),
    # --- three nodes with certificates ---
    Assumption(
        id="notify-before-init",
        sentence="READY=1 reaches systemd while a node still waits for `init`",
        relied_on=(ROLE + "templates/cockroach.service.j2", ROLE + "library/cockroachdb_node.py"),
        source="read in the server's start command",
    ),
    Assumption(
        id="health-before-init",
        sentence="/health?ready=1 is not 200 before `init`, and is afterwards",
        relied_on=(CLIENT,),
        source=DOCS + "monitoring-and-alerting",
    ),
    Assumption(
        id="init-once",
        sentence="a second `init` says `cluster has already been initialized`",
        relied_on=(ROLE + "library/cockroachdb_cluster.py",),
        source=DOCS + "cockroach-init",
    ),
    Assumption(
        id="certificates",
        sentence="the certificates of enos_crdb/certificates.py are taken by nodes, clients and libpq's verify-full",
        relied_on=("enos_crdb/certificates.py", BACKEND),
        source=DOCS + "create-security-certificates-openssl",
    ),
    Assumption(
        id="certificate-is-user",
        sentence="a client certificate of one user does not open a session of another",
        relied_on=("tests/doubles/cockroachdb_wire/opening.py", "docs/how-to/cockroachdb.md"),
        source=DOCS + "authentication",
    ),
    Assumption(
        id="node-status",
        sentence="`node status --ranges --format=csv` has the columns that are read, and all ranges get their replicas",
        relied_on=(CLIENT, ROLE + "library/cockroachdb_cluster.py"),
        source=DOCS + "cockroach-node",
    ),
    Assumption(
        id="zones",
        sentence="num_replicas, constraints and lease_preferences of a database are shown as the role reads them",
        relied_on=(ROLE + "module_utils/cockroachdb_schema.py", BACKEND),
        source=DOCS + "configure-replication-zones",
    ),
    Assumption(
        id="leases-move",
        sentence="leases move to the preferred region within two minutes",
        relied_on=("docs/how-to/cockroachdb.md",),
        source=DOCS + "configure-replication-zones",
    ),
    Assumption(
        id="multi-region",
        sentence="primary region, regions, survival goal and GLOBAL tables need no licence key in a young cluster",
        relied_on=(ROLE + "module_utils/cockroachdb_schema.py",),
        source=DOCS + "multiregion-overview",
    ),
    Assumption(
        id="keystone-with-tls",
        sentence="Keystone works over TLS with a client certificate, on a cluster of three nodes",
        relied_on=(BACKEND, PACKAGE + "errors.py"),
        source=DOCS + "connect-to-the-database",
    ),
    Assumption(
        id="node-killed",
        sentence="when another node is killed under load only commits with an unknown result fail",
        relied_on=(PACKAGE + "replay.py",),
        source=DOCS + "transaction-retry-error-reference (40003)",
    ),
    # --- all of it ---
    Assumption(
        id="local-cockroachdb-yaml",
        sentence="configs/local-cockroachdb.yaml is deployed, measured, reset, collected and destroyed",
        relied_on=("configs/local-cockroachdb.yaml", ROLE, BACKEND),
        source="the stand-in in front of PostgreSQL",
    ),
)

BY_ID = {assumption.id: assumption for assumption in ASSUMPTIONS}
