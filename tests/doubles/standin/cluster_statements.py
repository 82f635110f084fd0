"""Statements about the cluster, of which PostgreSQL has none: answered from what the cluster knows, or refused.

Everything else goes on to PostgreSQL, which refuses what it does not know: nothing is acknowledged by default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.doubles.cockroachdb_wire import Answer, Refusal, Statement, Version
from tests.doubles.cockroachdb_wire.rewriting import NAMESPACE
from tests.doubles.cockroachdb_wire.statements import literal, unquoted
from tests.doubles.standin import MADE_UP, peers, variables
from tests.doubles.standin.members import Members

INTERNAL_PUBLIC = (
    "cluster_contention_events",
    "cluster_locks",
    "index_usage_statistics",
    "statement_statistics",
    "transaction_statistics",
)
"""Tables of crdb_internal supported in production; from v26.1 on the others need a session variable
(docs: crdb-internal)."""


Result = Answer | Refusal | Statement | None
Handler = Callable[["ClusterSession", "re.Match[str]"], Result]
HANDLERS: list[tuple[re.Pattern[str], Handler]] = []
RESTRICTED_INTERNALS = Version(26, 1)


def rows(columns: Sequence[str], found: Sequence[Sequence[str | None]]) -> Answer:
    return Answer(f"SELECT {len(found)}", tuple(columns), found)


def refused(sqlstate: str, message: str) -> Refusal:
    return Refusal(rule="cluster", sqlstate=sqlstate, message=message)


def statement(pattern: str) -> Callable[[Handler], Handler]:
    """Register a handler; blanks in `pattern` stand for any white space, ``NAME`` for an identifier."""
    expression = pattern.replace("NAME", r'("[^"]+"|[\w.]+)').replace(" ", r"\s+")

    def keep(handler: Handler) -> Handler:
        HANDLERS.append((re.compile(expression + r"\s*;?\s*", re.IGNORECASE | re.DOTALL), handler))
        return handler

    return keep


@dataclass
class ClusterSession:
    """A client's session, on the node that has PostgreSQL."""

    members: Members
    user: str
    database: str
    node: int
    version: Version
    ask: Callable[..., Sequence[Sequence[str | None]]]
    unsafe_internals: bool = False

    def answer(self, sql: str) -> Result:
        """What to do with a statement; None: PostgreSQL's."""
        for pattern, handler in HANDLERS:
            if match := pattern.fullmatch(sql.strip()):
                try:
                    return handler(self, match)
                except peers.Refused as error:
                    return refused("XX000", str(error))
        return None

    def exists(self, table: str, column: str, name: str) -> bool:
        return bool(self.ask(f"SELECT 1 FROM {table} WHERE {column} = {literal(name)}"))

    def regions(self) -> set[str]:
        tiers = [tier for member in self.members.members.values() for tier in member.locality.split(",")]
        return {tier.removeprefix("region=") for tier in tiers if tier.startswith("region=")}


def value_of(text: str) -> str:
    """A literal without its quotes."""
    text = text.strip()
    return text[1:-1].replace("''", "'") if text[:1] == "'" else text


# --- databases and users ---


@statement("CREATE DATABASE IF NOT EXISTS NAME")
def _create_database(session: ClusterSession, match: re.Match[str]) -> Result:
    name = unquoted(match[1])
    if session.exists("pg_database", "datname", name):
        return Answer("CREATE DATABASE")
    return Statement(f'CREATE DATABASE "{name}"')


@statement("CREATE (?:USER|ROLE) IF NOT EXISTS NAME")
def _create_user(session: ClusterSession, match: re.Match[str]) -> Result:
    name = unquoted(match[1])
    if session.exists("pg_roles", "rolname", name):
        return Answer("CREATE ROLE")
    return Statement(f'CREATE USER "{name}"')


@statement("SHOW DATABASES")
def _show_databases(session: ClusterSession, match: re.Match[str]) -> Result:
    query = "SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate ORDER BY 1"
    found = []
    for name, owner in session.ask(query):
        kept = session.members.databases.get(name or "", {})
        regions = "{" + kept.get("regions", "") + "}"
        found.append([name, owner, kept.get("primary_region"), regions, kept.get("survival_goal")])
    return rows(("database_name", "owner", "primary_region", "regions", "survival_goal"), found)


@statement("SHOW (?:USERS|ROLES)")
def _show_users(session: ClusterSession, match: re.Match[str]) -> Result:
    found = session.ask("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1")
    return rows(("username", "options", "member_of"), [["admin", "", "{}"], *([name, "", "{}"] for (name,) in found)])


@statement("(?:USE|SET database (?:=|TO)) NAME")
def _use(session: ClusterSession, match: re.Match[str]) -> Result:
    if unquoted(value_of(match[1])) == session.database:
        return Answer("SET")
    return refused("0A000", "STAND-IN: a session keeps its database; connect with --database")


@statement(
    r"CANCEL SESSIONS IF EXISTS \(SELECT session_id FROM \[SHOW CLUSTER SESSIONS\] WHERE user_name = ('[^']+')\)"
)
def _cancel_sessions(session: ClusterSession, match: re.Match[str]) -> Result:
    ended = session.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {match[1]}")
    return Answer(f"CANCEL SESSIONS {len(ended)}")


# --- settings ---


@statement("(?:SET|RESET) CLUSTER SETTING ([a-z0-9_.]+)(?: ?(?:=|TO) ?(.+?))?")
def _set_cluster(session: ClusterSession, match: re.Match[str]) -> Result:
    name, value = match[1], match[2]
    if name not in variables.CLUSTER:
        return refused("42704", f"unknown cluster setting '{name}'")
    if session.user != "root":
        return refused(
            "42501", "only users with the MODIFYCLUSTERSETTING privilege are allowed to set cluster settings"
        )
    try:
        plain = None if value is None or value.upper() == "DEFAULT" else value_of(value)
        if plain is not None:
            variables.shown(variables.CLUSTER[name][0], plain)
    except ValueError as error:
        return refused("22P02", str(error))
    session.members.set(name, plain)
    return Answer("SET CLUSTER SETTING")


def _cluster_value(session: ClusterSession, name: str) -> str:
    if name == "version":
        return session.version.release.removeprefix("v")
    kind, default = variables.CLUSTER[name]
    return variables.shown(kind, session.members.settings.get(name, default))


@statement("SHOW CLUSTER SETTING ([a-z0-9_.]+)")
def _show_cluster(session: ClusterSession, match: re.Match[str]) -> Result:
    if match[1] not in variables.CLUSTER and match[1] != "version":
        return refused("42704", f"unknown cluster setting '{match[1]}'")
    return rows((match[1],), [[_cluster_value(session, match[1])]])


@statement("SHOW (?:ALL )?CLUSTER SETTINGS")
def _show_all_cluster(session: ClusterSession, match: re.Match[str]) -> Result:
    found = [
        [name, _cluster_value(session, name), kind, "t", MADE_UP]
        for name, (kind, _) in sorted(variables.CLUSTER.items())
    ]
    return rows(("variable", "value", "setting_type", "public", "description"), found)


@statement(r"SET allow_unsafe_internals ?(?:=|TO) ?(\w+)")
def _unsafe_internals(session: ClusterSession, match: re.Match[str]) -> Result:
    session.unsafe_internals = match[1].lower() in ("on", "true")
    return None


@statement("SHOW node_id")
def _show_node(session: ClusterSession, match: re.Match[str]) -> Result:
    return rows(("node_id",), [[str(session.node)]])


@statement("SHOW DEFAULT SESSION VARIABLES FOR (?:ROLE|USER) NAME")
def _show_role(session: ClusterSession, match: re.Match[str]) -> Result:
    query = (
        "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setdatabase = 0 AND setrole = {}::regrole ORDER BY 1"
    )
    kept = [text for (text,) in session.ask(query.format(f"'{match[1]}'")) if text]
    pairs = [text.removeprefix(f"{NAMESPACE}.").lower().partition("=")[::2] for text in kept]
    columns = ("session_variables", "default_values", "database", "inherited_globally")
    return rows(columns, [[name, value, None, "f"] for name, value in pairs])


# --- placement ---


@statement("ALTER (RANGE|DATABASE|TABLE) NAME CONFIGURE ZONE DISCARD")
def _discard_zone(session: ClusterSession, match: re.Match[str]) -> Result:
    session.members.set_zone(f"{match[1].upper()} {unquoted(match[2])}", None)
    return Answer("CONFIGURE ZONE 1")


@statement("ALTER (RANGE|DATABASE|TABLE) NAME CONFIGURE ZONE USING (.+)")
def _configure_zone(session: ClusterSession, match: re.Match[str]) -> Result:
    kind, name = match[1].upper(), unquoted(match[2])
    if kind == "DATABASE" and not session.exists("pg_database", "datname", name):
        return refused("3D000", f'database "{name}" does not exist')
    parts = re.findall(r"([\w.]+)\s*=\s*('(?:[^']|'')*'|[^,\s]+(?:\s+FROM\s+PARENT)?)\s*(?:,|$)", match[3])
    if not parts or any(key not in variables.ZONE for key, _ in parts):
        return refused("22023", f"unsupported zone config parameter in: {match[3]}")
    for key, value in parts:
        for region in re.findall(r"[+-]region=([^\]\",: ]+)", value):
            if region not in session.regions():
                return refused("22023", f'constraint "+region={region}" matches no existing nodes within the cluster')
        if key == "num_replicas" and not value.isdigit():
            return refused("22023", f"could not parse {value} as type int")
    session.members.set_zone(f"{kind} {name}", dict(parts))
    return Answer("CONFIGURE ZONE 1")


def _zone(session: ClusterSession, target: str) -> list[str | None]:
    zones = session.members.zones
    if target not in zones and target != "RANGE default":
        target = "RANGE default"
    values = {**variables.ZONE, **zones.get("RANGE default", {}), **zones.get(target, {})}
    lines = ",\n".join(f"\t{name} = {value}" for name, value in values.items() if value)
    kind, _, name = target.partition(" ")
    return [target, f"ALTER {kind} {name} CONFIGURE ZONE USING\n{lines}"]


@statement("SHOW ZONE CONFIGURATION (?:FROM|FOR) (RANGE|DATABASE|TABLE) NAME")
def _show_zone(session: ClusterSession, match: re.Match[str]) -> Result:
    return rows(("target", "raw_config_sql"), [_zone(session, f"{match[1].upper()} {unquoted(match[2])}")])


@statement("SHOW (?:ALL )?ZONE CONFIGURATIONS")
def _show_zones(session: ClusterSession, match: re.Match[str]) -> Result:
    targets = sorted({"RANGE default", *session.members.zones})
    return rows(("target", "raw_config_sql"), [_zone(session, target) for target in targets])


@statement("ALTER DATABASE NAME (?:SET )?(PRIMARY REGION|ADD REGION)(?: IF NOT EXISTS)? NAME")
def _add_region(session: ClusterSession, match: re.Match[str]) -> Result:
    database, region = unquoted(match[1]), unquoted(match[3])
    kept = session.members.databases.get(database, {})
    regions = [name for name in kept.get("regions", "").split(",") if name]
    if region not in session.regions():
        return refused("42602", f'region "{region}" does not exist')
    primary = match[2].upper() == "PRIMARY REGION"
    if not primary and not regions:
        return refused("42P12", f"cannot add region {region} to database {database}: it has no primary region")
    if not primary and region in regions:
        return refused("42710", f'region "{region}" already added to database')
    kept["primary_region"] = region if primary else kept["primary_region"]
    kept["regions"] = ",".join(sorted({*regions, region}))
    kept.setdefault("survival_goal", "zone")
    session.members.set_database(database, kept)
    return Answer("ALTER DATABASE PRIMARY REGION" if primary else "ALTER DATABASE ADD REGION")


@statement("ALTER DATABASE NAME SURVIVE (ZONE|REGION) FAILURE")
def _survive(session: ClusterSession, match: re.Match[str]) -> Result:
    kept = session.members.databases.get(unquoted(match[1]), {})
    if not kept:
        return refused("42P12", "database must have associated regions before a survival goal can be set")
    if match[2].upper() == "REGION" and len(kept["regions"].split(",")) < 3:
        return refused("42P12", "at least 3 regions are required for surviving a region failure")
    session.members.set_database(unquoted(match[1]), {**kept, "survival_goal": match[2].lower()})
    return Answer("ALTER DATABASE SURVIVE")


@statement(r"ALTER TABLE NAME SET (?:LOCALITY (.+)|\(schema_locked ?= ?(\w+)\))")
def _set_locality(session: ClusterSession, match: re.Match[str]) -> Result:
    if match[2] and not session.members.databases:
        return refused("42P12", "cannot alter a table's LOCALITY if its database is not multi-region enabled")
    table = match[1].split(".")[-1].strip('"')
    if match[2]:
        session.members.set_zone(f"LOCALITY {table}", {"locality": match[2]})
    return Answer("ALTER TABLE SET LOCALITY" if match[2] else "ALTER TABLE")


@statement("SHOW TABLES FROM NAME")
def _show_tables(session: ClusterSession, match: re.Match[str]) -> Result:
    database = match[1].split(".")[0].strip('"')
    query = "SELECT schemaname, tablename, tableowner FROM pg_tables WHERE schemaname = 'public' ORDER BY 2"
    found: list[list[str | None]] = []
    for schema, table, owner in session.ask(query, database=database):
        locality = session.members.zones.get(f"LOCALITY {table}", {}).get("locality")
        found.append([schema, table, "table", owner, None, locality])
    return rows(("schema_name", "table_name", "type", "owner", "estimated_row_count", "locality"), found)


# --- what is exported after a run ---


@statement("SHOW RANGES FROM DATABASE NAME WITH .+")
def _show_ranges(session: ClusterSession, match: re.Match[str]) -> Result:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    localities = {str(member.id): member.locality for member in session.members.live}
    holder = min(localities, default="0")
    replicas = "{" + ",".join(sorted(localities)) + "}"
    found = [
        [
            "<TableMin>",
            "<TableMax>",
            str(number),
            "public",
            table,
            MADE_UP,
            holder,
            localities.get(holder, ""),
            replicas,
        ]
        for number, (table,) in enumerate(session.ask(query, database=unquoted(match[1])), start=70)
    ]
    columns = (
        "start_key end_key range_id schema_name table_name range_size_mb lease_holder lease_holder_locality replicas"
    )
    return rows(columns.split(), found)


@statement("SHOW (?:AUTOMATIC )?JOBS.*")
def _show_jobs(session: ClusterSession, match: re.Match[str]) -> Result:
    return rows(("job_id", "job_type", "description", "user_name", "status", "created", "finished"), [])


@statement(r"(?:SELECT|TABLE).*?\b(?:FROM|TABLE) crdb_internal\.(\w+).*")
def _internal(session: ClusterSession, match: re.Match[str]) -> Result:
    table = match[1].lower()
    if session.version >= RESTRICTED_INTERNALS and table not in INTERNAL_PUBLIC and not session.unsafe_internals:
        return refused("42501", "Access to crdb_internal and system is restricted.")
    others = ("cluster_settings", "gossip_liveness", "kv_node_status", "kv_store_status")
    if table not in (*INTERNAL_PUBLIC, "transaction_contention_events", *others):
        return refused("42P01", f'relation "crdb_internal.{table}" does not exist')
    return rows(("stand_in",), [[MADE_UP]])


@statement(r"SELECT crdb_internal\.(\w+)\(\)(?: AS \w+)?")
def _internal_function(session: ClusterSession, match: re.Match[str]) -> Result:
    known = {"reset_sql_stats": "t", "node_id": str(session.node), "cluster_id": session.members.cluster_id}
    if (name := match[1].lower()) not in known:
        return refused("42883", f"unknown function: crdb_internal.{name}()")
    return rows((f"crdb_internal.{name}",), [[known[name]]])


@statement("(BACKUP|RESTORE) .+")
def _backup(session: ClusterSession, match: re.Match[str]) -> Result:
    return refused("0A000", f"STAND-IN: {match[1].upper()} needs CockroachDB")


@statement("DROP DATABASE (?:IF EXISTS )?NAME CASCADE")
def _drop_database(session: ClusterSession, match: re.Match[str]) -> Result:
    if not session.exists("pg_database", "datname", unquoted(match[1])):
        return Answer("DROP DATABASE")
    return Statement(f"DROP DATABASE {match[1]} WITH (FORCE)")
