"""Backend ``cockroachdb``: a cluster of CockroachDB nodes, secured by certificates of its own CA."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from enos_crdb.backends.contract import THROUGH_ONE, Connection, File, Reset
from enos_crdb.backends.placement import DATABASE, nearest_node, subnet
from enos_crdb.config.cockroachdb import CockroachDB, line
from enos_crdb.errors import ConfigurationError
from enos_crdb.model import Host, Resources

if TYPE_CHECKING:
    from enos_crdb.certificates import Pair

PORT = 26257
HTTP_PORT = 8080
OFFICIAL = "https://binaries.cockroachdb.com"
SECRET = "cockroachdb_{}_{}"
"""Name in `secrets.json` of what ("certificate", "key") and whose (``ca``, ``client_<user>``, ``node_<host>``)."""
USERS = ("root", DATABASE)
ON_KEYSTONE_HOSTS = "/etc/keystone/cockroachdb"
JOINED = 5
"""How many nodes are named to those that look for the cluster; three to five are asked for."""


@dataclass(frozen=True, kw_only=True)
class CockroachDBBackend:
    """CockroachDB's own binary, as it is published."""

    name: str = "cockroachdb"
    ansible_role: str = "cockroachdb"
    installs: tuple[str, ...] = ("cockroachdb",)
    files: tuple[str, ...] = (
        "/etc/systemd/system/cockroach.service",
        "/var/log/cockroach/*.log",
        "/var/lib/cockroach/cluster.json",
        "/run/cockroach/cluster.json",
        "/var/lib/enos_crdb/export/*",
    )
    exports: bool = True
    resets: Reset = THROUGH_ONE

    def installation(self, options: CockroachDB) -> dict[str, Any]:
        return {
            "cockroachdb_version": options.version,
            "cockroachdb_source": options.mirror or OFFICIAL,
            "cockroachdb_binary": options.binary or "",
            "cockroachdb_sha256": _digest(options) if options.binary else options.sha256 or "",
        }

    def new_secrets(self, options: CockroachDB, resources: Resources, secrets: Mapping[str, str]) -> dict[str, str]:
        if options.insecure:
            return {}
        from enos_crdb import certificates  # its library takes longer to import than most commands need

        known = _pair(secrets, "ca")
        ca = known or certificates.authority()
        new = {} if known else _secrets("ca", ca)
        for user in USERS:
            if not _pair(secrets, f"client_{user}"):
                new |= _secrets(f"client_{user}", certificates.for_user(ca, user))
        for node in resources.with_role("database"):
            if not _pair(secrets, f"node_{node.name}"):
                names = _names(node, resources.with_role("rally"))
                new |= _secrets(f"node_{node.name}", certificates.for_node(ca, names))
        return new

    def variables(
        self, options: CockroachDB, resources: Resources, secrets: Mapping[str, str]
    ) -> dict[str, dict[str, Any]]:
        nodes = {node.name: node for node in resources.with_role("database")}
        shared = {
            "cockroachdb_version": options.version,
            **_cluster(options, nodes, resources),
            **_sql(options, nodes),
        }
        found = {
            name: {
                **shared,
                "cockroachdb_certificates": {} if options.insecure else _certificates(name, secrets),
            }
            for name in nodes
        }
        for proxy in proxies(options, resources):
            found.setdefault(proxy.name, {}).update(_proxy(proxy, nodes, options))
        return found

    def connection(
        self, options: CockroachDB, resources: Resources, keystone: Host, secrets: Mapping[str, str]
    ) -> Connection:
        target = _nearest_proxy(resources, keystone) if options.haproxy else nearest_node(resources, keystone)
        schema = {"crdb_isolation": "AUTOCOMMIT"}
        if line(options.version) >= (25, 3):
            # Tables that are made locked refuse some of the later migrations.
            schema["crdb_set_create_table_with_schema_locked"] = "off"
        return Connection(
            url=_url(target, insecure=options.insecure),
            schema_parameters=schema,
            files=() if options.insecure else _client_files(secrets),
        )

    def version_command(self) -> tuple[str, ...]:
        return ("/usr/local/bin/cockroach", "version")


def proxies(options: CockroachDB, resources: Resources) -> tuple[Host, ...]:
    """Hosts on which haproxy runs."""
    return resources.with_role("rally") if options.haproxy else ()


def _digest(options: CockroachDB) -> str:
    """SHA-256 of the local binary. Raises `ConfigurationError` when there is none, or another one than asked for."""
    path = Path(options.binary or "")
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    except OSError as error:
        raise ConfigurationError(
            f"database.binary: {path} cannot be read ({error.strerror}).\n"
            "It is a file of this machine: the cockroach executable, or the official .tgz that holds it."
        ) from None
    if options.sha256 and digest.hexdigest() != options.sha256:
        raise ConfigurationError(
            f"database.binary: {path} has the SHA-256 {digest.hexdigest()}, but database.sha256 says "
            f"{options.sha256}.\nThe file is another one than was meant, or was cut short; copy it again."
        )
    return digest.hexdigest()


def _pair(secrets: Mapping[str, str], whose: str) -> Pair | None:
    from enos_crdb.certificates import Pair

    certificate, key = (secrets.get(SECRET.format(what, whose)) for what in ("certificate", "key"))
    return Pair(certificate=certificate, key=key) if certificate and key else None


def _secrets(whose: str, pair: Pair) -> dict[str, str]:
    return {SECRET.format("certificate", whose): pair.certificate, SECRET.format("key", whose): pair.key}


def _names(node: Host, front: tuple[Host, ...]) -> tuple[str, ...]:
    """Every name under which a client may reach `node`, through a haproxy (now or later) included: it passes TLS on."""
    own = (node.name, "localhost", "127.0.0.1", node.address, *node.addresses.values())
    return (*own, *(address for proxy in front for address in (proxy.name, *proxy.addresses.values())))


def _certificates(node: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """File name in the node's directory of certificates -> content."""
    own = {"node": f"node_{node}", **{f"client.{user}": f"client_{user}" for user in USERS}}
    found = {"ca.crt": secrets[SECRET.format("certificate", "ca")]}
    for file, whose in own.items():
        found[f"{file}.crt"] = secrets[SECRET.format("certificate", whose)]
        found[f"{file}.key"] = secrets[SECRET.format("key", whose)]
    return found


def _cluster(options: CockroachDB, nodes: Mapping[str, Host], resources: Resources) -> dict[str, Any]:
    """Variables with which a node is started."""
    return {
        "cockroachdb_nodes": {
            name: {"address": node.addresses["database"], "site": node.site} for name, node in sorted(nodes.items())
        },
        "cockroachdb_joined": [nodes[name].addresses["database"] for name in sorted(nodes)[:JOINED]],
        "cockroachdb_clients": str(subnet(resources)),
        "cockroachdb_port": PORT,
        "cockroachdb_http_port": HTTP_PORT,
        "cockroachdb_insecure": options.insecure,
        "cockroachdb_store": options.store,
        "cockroachdb_store_mb": options.store_mb,
        "cockroachdb_cache_mb": options.cache_mb,
        "cockroachdb_sql_memory_mb": options.sql_memory_mb,
        "cockroachdb_max_offset_ms": options.max_offset_ms,
        "cockroachdb_join_timeout_s": options.join_timeout_s,
        "cockroachdb_telemetry": options.telemetry,
        "cockroachdb_license_file": options.license_file or "",
    }


def _sql(options: CockroachDB, nodes: Mapping[str, Host]) -> dict[str, Any]:
    """Variables that SQL brings to the cluster."""
    return {
        "cockroachdb_database": DATABASE,
        "cockroachdb_user": DATABASE,
        "cockroachdb_replicas": options.replicas,
        "cockroachdb_zone": _zone(options),
        "cockroachdb_multi_region": _multi_region(options, nodes),
        "cockroachdb_session_settings": _session_settings(options),
        "cockroachdb_cluster_settings": _cluster_settings(options),
        "cockroachdb_reset_by": options.reset_by,
    }


def _zone(options: CockroachDB) -> dict[str, str]:
    """Fields of the zone of Keystone's database, as SQL shows them; multi-region SQL places replicas itself."""
    zone: dict[str, str] = {}
    if options.gc_ttl_s is not None:
        zone["gc.ttlseconds"] = str(options.gc_ttl_s)
    if options.multi_region:
        return zone
    zone["num_replicas"] = str(options.replicas)
    if options.constraints:
        asked = {f"+region={site}": copies for site, copies in sorted(options.constraints.items())}
        zone["constraints"] = json.dumps(asked)
    if options.lease_regions:
        zone["lease_preferences"] = "[" + ", ".join(f"[+region={site}]" for site in options.lease_regions) + "]"
    return zone


def _multi_region(options: CockroachDB, nodes: Mapping[str, Host]) -> dict[str, Any]:
    wide = options.multi_region
    if wide is None:
        return {}
    return {
        "primary": wide.primary,
        "regions": sorted({node.site for node in nodes.values()}),
        "survive": wide.survive,
        "global_tables": list(wide.global_tables),
    }


def _session_settings(options: CockroachDB) -> dict[str, Any]:
    settings: dict[str, Any] = {"default_transaction_isolation": options.isolation}
    if options.buffered_writes is not None:
        settings["kv_transaction_buffered_writes_enabled"] = options.buffered_writes
    return {**settings, **{name.lower(): value for name, value in options.session_settings.items()}}


def _cluster_settings(options: CockroachDB) -> dict[str, Any]:
    settings: dict[str, Any] = {"diagnostics.reporting.enabled": options.telemetry}
    if options.isolation == "read committed" and line(options.version) < (24, 1):
        # Without it the older lines answer SERIALIZABLE to whom asks for READ COMMITTED.
        settings["sql.txn.read_committed_isolation.enabled"] = True
    return {**settings, **{name.lower(): value for name, value in options.cluster_settings.items()}}


def _proxy(proxy: Host, nodes: Mapping[str, Host], options: CockroachDB) -> dict[str, Any]:
    """Variables of the Ansible role ``haproxy``."""
    return {
        "haproxy_address": proxy.addresses["database"],
        "haproxy_port": PORT,
        "haproxy_check_port": HTTP_PORT,
        "haproxy_check_tls": not options.insecure,
        "haproxy_servers": {name: node.addresses["database"] for name, node in sorted(nodes.items())},
    }


def _nearest_proxy(resources: Resources, keystone: Host) -> Host:
    front = resources.with_role("rally")
    return next((host for host in front if host.site == keystone.site), front[0])


def _url(target: Host, *, insecure: bool) -> str:
    options = {"application_name": DATABASE, "sslmode": "disable"}
    if not insecure:
        files = {f"ssl{what}": f"{ON_KEYSTONE_HOSTS}/{name}" for what, name in CLIENT_FILES.items()}
        options = {"application_name": DATABASE, "sslmode": "verify-full", **files}
    query = urlencode(options, safe="/")
    return f"cockroachdb+psycopg2://{DATABASE}@{target.addresses['database']}:{PORT}/{DATABASE}?{query}"


CLIENT_FILES = {"rootcert": "ca.crt", "cert": f"client.{DATABASE}.crt", "key": f"client.{DATABASE}.key"}
"""libpq's ``ssl<what>`` -> name of the file on a Keystone host."""


def _client_files(secrets: Mapping[str, str]) -> tuple[File, ...]:
    whose = {"rootcert": ("certificate", "ca"), "cert": ("certificate", f"client_{DATABASE}")}
    names = {**whose, "key": ("key", f"client_{DATABASE}")}
    return tuple(
        File(path=f"{ON_KEYSTONE_HOSTS}/{CLIENT_FILES[what]}", content=secrets[SECRET.format(*names[what])])
        for what in CLIENT_FILES
    )
