"""Backend cockroachdb: its section, its certificates (checked with openssl), and what Ansible and Keystone are told."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enos_crdb import certificates, config, shipped, software
from enos_crdb.backends import BACKENDS
from enos_crdb.backends.contract import Connection
from enos_crdb.certificates import Pair
from enos_crdb.errors import ConfigurationError
from enos_crdb.model import Resources
from tests.unit.database_hosts import host, options, resources

BACKEND = BACKENDS["cockroachdb"]
CLUSTER = resources(
    host("database-3", 13, "database", site="nantes"),
    host("database-1", 11, "database", "keystone", site="rennes"),
    host("database-2", 12, "database", site="lyon"),
    host("keystone-1", 14, "keystone", site="lyon"),
    host("rally-1", 15, "rally", site="paris"),
    host("rally-2", 16, "rally", site="lyon"),
)


def chosen(**values: Any) -> Any:
    return options(backend="cockroachdb", **values)


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    return BACKEND.new_secrets(chosen(), CLUSTER, {})


@pytest.fixture(scope="module")
def ca() -> Pair:
    return certificates.authority()


def variables(secrets: Mapping[str, str], cluster: Resources = CLUSTER, **values: Any) -> dict[str, dict[str, Any]]:
    return BACKEND.variables(chosen(**values), cluster, secrets)


def connection(secrets: Mapping[str, str], keystone: str, **values: Any) -> Connection:
    return BACKEND.connection(chosen(**values), CLUSTER, CLUSTER.host(keystone), secrets)


# Certificates


def openssl(*words: str) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(directory: Path, **texts: str) -> dict[str, str]:
    for name, text in texts.items():
        (directory / name).write_text(text)
    return {name: str(directory / name) for name in texts}


@pytest.mark.parametrize("name", ["10.0.2.12", "10.0.1.12", "127.0.0.1", "database-2", "localhost", "10.0.2.15"])
def test_openssl_finds_a_node_of_the_cluster_under_each_of_its_names(
    secrets: dict[str, str], tmp_path: Path, name: str
) -> None:
    files = written(
        tmp_path,
        ca=secrets["cockroachdb_certificate_ca"],
        node=secrets["cockroachdb_certificate_node_database-2"],
    )
    how = ("-verify_ip", name) if name[0].isdigit() else ("-verify_hostname", name)
    assert "OK" in openssl(
        "verify", "-x509_strict", "-purpose", "sslserver", *how, "-CAfile", files["ca"], files["node"]
    )


def test_openssl_refuses_a_node_under_the_name_of_another(secrets: dict[str, str], tmp_path: Path) -> None:
    files = written(
        tmp_path,
        ca=secrets["cockroachdb_certificate_ca"],
        node=secrets["cockroachdb_certificate_node_database-2"],
    )
    with pytest.raises(AssertionError, match="IP address mismatch"):
        openssl("verify", "-verify_ip", "10.0.2.11", "-CAfile", files["ca"], files["node"])


@pytest.mark.parametrize("user", ["root", "keystone"])
def test_openssl_takes_the_certificate_of_a_user_for_a_client(
    secrets: dict[str, str], tmp_path: Path, user: str
) -> None:
    files = written(
        tmp_path,
        ca=secrets["cockroachdb_certificate_ca"],
        client=secrets[f"cockroachdb_certificate_client_{user}"],
    )
    assert "OK" in openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", files["ca"], files["client"])
    with pytest.raises(AssertionError, match="purpose"):
        openssl("verify", "-purpose", "sslserver", "-CAfile", files["ca"], files["client"])


def test_openssl_refuses_the_certificates_of_another_cluster(secrets: dict[str, str], ca: Pair, tmp_path: Path) -> None:
    files = written(tmp_path, ca=ca.certificate, node=secrets["cockroachdb_certificate_node_database-2"])
    with pytest.raises(AssertionError, match="verification failed"):
        openssl("verify", "-CAfile", files["ca"], files["node"])


@pytest.mark.parametrize("whose", ["node", "root", "keystone"])
def test_a_certificate_is_what_cockroach_cert_makes(ca: Pair, whose: str) -> None:
    pair = certificates.for_node(ca, ["10.0.0.1"]) if whose == "node" else certificates.for_user(ca, whose)
    found = x509.load_pem_x509_certificate(pair.certificate.encode())
    key = load_pem_private_key(pair.key.encode(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert key.public_key() == found.public_key()
    assert [name.value for name in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [whose]
    assert [name.value for name in found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["Cockroach"]
    left = found.not_valid_after_utc - datetime.now(timezone.utc)
    assert timedelta(days=3650) < left < timedelta(days=3660)
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert (ExtendedKeyUsageOID.SERVER_AUTH in purposes) is (whose == "node")
    assert ExtendedKeyUsageOID.CLIENT_AUTH in purposes


def test_a_host_whose_clock_is_an_hour_behind_takes_the_certificates(ca: Pair) -> None:
    found = x509.load_pem_x509_certificate(certificates.for_user(ca, "root").certificate.encode())
    assert found.not_valid_before_utc < datetime.now(timezone.utc) - timedelta(hours=1)


def test_only_missing_certificates_are_made(secrets: dict[str, str]) -> None:
    assert BACKEND.new_secrets(chosen(), CLUSTER, secrets) == {}
    part = {name: text for name, text in secrets.items() if "client_root" not in name}
    assert set(BACKEND.new_secrets(chosen(), CLUSTER, part)) == {
        "cockroachdb_certificate_client_root",
        "cockroachdb_key_client_root",
    }


def test_an_insecure_cluster_has_no_certificates() -> None:
    assert BACKEND.new_secrets(chosen(insecure=True), CLUSTER, {}) == {}
    assert variables({}, insecure=True)["database-1"]["cockroachdb_certificates"] == {}
    assert connection({}, "keystone-1", insecure=True).files == ()


# What Ansible is told


def test_a_node_gets_its_own_key_and_no_other_nodes(secrets: dict[str, str]) -> None:
    held = variables(secrets)["database-2"]["cockroachdb_certificates"]
    assert set(held) == {
        "ca.crt",
        *(f"{who}.{what}" for who in ("node", "client.root", "client.keystone") for what in ("crt", "key")),
    }
    assert held["node.key"] == secrets["cockroachdb_key_node_database-2"]
    assert secrets["cockroachdb_key_ca"] not in held.values(), "the key of the authority stays on this machine"


def test_every_node_is_told_the_same_cluster(secrets: dict[str, str]) -> None:
    found = variables(secrets)
    nodes = {name: values["cockroachdb_nodes"] for name, values in found.items()}
    assert set(found) == {"database-1", "database-2", "database-3"}
    assert nodes["database-1"] == nodes["database-2"] == nodes["database-3"]
    assert list(nodes["database-1"]) == ["database-1", "database-2", "database-3"]
    assert nodes["database-1"]["database-3"] == {"address": "10.0.2.13", "site": "nantes"}
    assert found["database-3"]["cockroachdb_joined"] == ["10.0.2.11", "10.0.2.12", "10.0.2.13"]


def test_a_large_cluster_is_found_through_a_few_nodes() -> None:
    many = resources(*(host(f"database-{index:02}", 10 + index, "database") for index in range(45)))
    found = variables({}, many, insecure=True)
    assert {tuple(values["cockroachdb_joined"]) for values in found.values()} == {
        tuple(f"10.0.2.{10 + index}" for index in range(5))
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"store": "tmpfs"}, {"cockroachdb_store": "tmpfs"}, id="store"),
        pytest.param({"store_mb": 1000}, {"cockroachdb_store_mb": 1000}, id="store-size"),
        pytest.param({"cache_mb": 77}, {"cockroachdb_cache_mb": 77}, id="cache"),
        pytest.param({"sql_memory_mb": 77}, {"cockroachdb_sql_memory_mb": 77}, id="sql-memory"),
        pytest.param({"max_offset_ms": 250}, {"cockroachdb_max_offset_ms": 250}, id="max-offset"),
        pytest.param({"reset_by": "rows"}, {"cockroachdb_reset_by": "rows"}, id="reset"),
        pytest.param({"license_file": "/k"}, {"cockroachdb_license_file": "/k"}, id="licence"),
        pytest.param({"version": "v26.2.1"}, {"cockroachdb_version": "v26.2.1"}, id="version"),
        pytest.param({"insecure": True}, {"cockroachdb_insecure": True}, id="insecure"),
        pytest.param(
            {"telemetry": True},
            {"cockroachdb_telemetry": True, "cockroachdb_cluster_settings": {"diagnostics.reporting.enabled": True}},
            id="telemetry",
        ),
        pytest.param(
            {"replicas": 1}, {"cockroachdb_replicas": 1, "cockroachdb_zone": {"num_replicas": "1"}}, id="replicas"
        ),
        pytest.param(
            {"gc_ttl_s": 600, "constraints": {"lyon": 1, "nantes": 2}, "lease_regions": ["lyon", "nantes"]},
            {
                "cockroachdb_zone": {
                    "gc.ttlseconds": "600",
                    "num_replicas": "3",
                    "constraints": '{"+region=lyon": 1, "+region=nantes": 2}',
                    "lease_preferences": "[[+region=lyon], [+region=nantes]]",
                }
            },
            id="zone",
        ),
        pytest.param(
            {"multi_region": {"primary": "lyon", "survive": "region", "global_tables": ["role"]}, "gc_ttl_s": 600},
            {
                "cockroachdb_zone": {"gc.ttlseconds": "600"},
                "cockroachdb_multi_region": {
                    "primary": "lyon",
                    "regions": ["lyon", "nantes", "rennes"],
                    "survive": "region",
                    "global_tables": ["role"],
                },
            },
            id="multi-region",
        ),
        pytest.param(
            {"isolation": "read committed", "buffered_writes": False, "session_settings": {"Statement_Timeout": "30s"}},
            {
                "cockroachdb_session_settings": {
                    "default_transaction_isolation": "read committed",
                    "kv_transaction_buffered_writes_enabled": False,
                    "statement_timeout": "30s",
                },
                "cockroachdb_cluster_settings": {"diagnostics.reporting.enabled": False},
            },
            id="session",
        ),
        pytest.param(
            {"isolation": "read committed", "version": "v23.2.20", "cluster_settings": {"sql.x": 1}},
            {
                "cockroachdb_cluster_settings": {
                    "diagnostics.reporting.enabled": False,
                    "sql.txn.read_committed_isolation.enabled": True,
                    "sql.x": 1,
                }
            },
            id="read-committed-must-be-allowed-on-old-lines",
        ),
    ],
)
def test_every_option_reaches_the_nodes(
    secrets: dict[str, str], values: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert expected.items() <= variables(secrets, **values)["database-3"].items()


def test_no_option_is_forgotten(secrets: dict[str, str], tmp_path: Path) -> None:
    binary = tmp_path / "cockroach"
    binary.write_bytes(b"x")
    other: dict[str, Any] = {
        "version": "v26.2.1", "binary": str(binary), "mirror": "http://m", "sha256": "a" * 64, "store": "tmpfs",
        "gc_ttl_s": 60, "replicas": 1, "lease_regions": ["lyon"], "constraints": {"lyon": 1},
        "multi_region": {"primary": "lyon"}, "isolation": "read committed", "buffered_writes": True,
        "session_settings": {"a": 1}, "cluster_settings": {"a": 1}, "insecure": True, "telemetry": True,
        "license_file": "/k", "haproxy": True, "reset_by": "rows",
    }  # fmt: skip

    def told(**values: Any) -> Any:
        given = chosen(**values)
        return BACKEND.installation(given), BACKEND.variables(given, CLUSTER, secrets)

    for field in type(chosen()).model_fields:
        if field != "backend":
            value = other[field] if field in other else getattr(chosen(), field) + 1
            assert told(**{field: value}) != told(), f"{field} changes nothing"


# The binary


def test_the_official_binary_is_downloaded_by_default() -> None:
    assert BACKEND.installation(chosen()) == {
        "cockroachdb_version": "v25.4.11",
        "cockroachdb_source": "https://binaries.cockroachdb.com",
        "cockroachdb_binary": "",
        "cockroachdb_sha256": "",
    }


def test_a_mirror_stands_in_for_the_official_site() -> None:
    found = BACKEND.installation(chosen(mirror="https://m.example.org/c/", sha256="AB" * 32))
    assert (found["cockroachdb_source"], found["cockroachdb_sha256"]) == ("https://m.example.org/c", "ab" * 32)


def test_another_binary_makes_another_layer(tmp_path: Path) -> None:
    file = shipped.directory("configs") / "local-cockroachdb.yaml"
    binary = tmp_path / "cockroach"

    def key() -> str:
        loaded = config.load(file, [f"database.binary={binary}"])
        return software.layer_key(loaded, ("database",), (), "bookworm")

    binary.write_bytes(b"one")
    one = key()
    assert one == key()
    binary.write_bytes(b"two")
    assert key() != one


def test_a_binary_that_is_not_there_is_refused_before_any_host_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.binary: .*absent cannot be read \(No such file"):
        BACKEND.installation(chosen(binary=str(tmp_path / "absent")))


def test_a_binary_of_another_checksum_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "cockroach"
    binary.write_bytes(b"x")
    right = hashlib.sha256(b"x").hexdigest()
    assert BACKEND.installation(chosen(binary=str(binary), sha256=right))["cockroachdb_sha256"] == right
    with pytest.raises(ConfigurationError, match=rf"has the SHA-256 {right}, but database\.sha256 says {'0' * 64}"):
        BACKEND.installation(chosen(binary=str(binary), sha256="0" * 64))


# Keystone's connection


@pytest.mark.parametrize(
    ("keystone", "address"),
    [pytest.param("database-1", "10.0.2.11", id="own"), pytest.param("keystone-1", "10.0.2.12")],
)
def test_keystone_talks_to_the_nearest_node_and_verifies_it(
    secrets: dict[str, str], keystone: str, address: str
) -> None:
    found = connection(secrets, keystone)
    url, query = urlsplit(found.url), parse_qs(urlsplit(found.url).query)
    assert (url.scheme, url.hostname, url.port, url.path) == ("cockroachdb+psycopg2", address, 26257, "/keystone")
    assert (url.username, url.password) == ("keystone", None), "the certificate is the password"
    assert query["sslmode"] == ["verify-full"]
    paths = {file.path: file.content for file in found.files}
    assert {query["sslrootcert"][0], query["sslcert"][0], query["sslkey"][0]} == set(paths)
    assert paths[query["sslkey"][0]] == secrets["cockroachdb_key_client_keystone"]
    assert paths[query["sslcert"][0]] == secrets["cockroachdb_certificate_client_keystone"]
    assert "%" not in found.url, "older releases of Keystone cannot read one in alembic's configuration"


def test_keystone_goes_through_the_nearest_proxy(secrets: dict[str, str]) -> None:
    assert urlsplit(connection(secrets, "keystone-1", haproxy=True).url).hostname == "10.0.2.16"
    assert urlsplit(connection(secrets, "database-1", haproxy=True).url).hostname == "10.0.2.15"


def test_a_proxy_knows_every_node(secrets: dict[str, str]) -> None:
    found = variables(secrets, haproxy=True)
    assert found["rally-1"]["haproxy_address"] == "10.0.2.15"
    assert found["rally-1"]["haproxy_servers"] == {f"database-{n}": f"10.0.2.1{n}" for n in (1, 2, 3)}
    assert "rally-1" not in variables(secrets)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param("v24.3.33", {"crdb_isolation": "AUTOCOMMIT"}, id="no-locked-tables"),
        pytest.param(
            "v26.2.1",
            {"crdb_isolation": "AUTOCOMMIT", "crdb_set_create_table_with_schema_locked": "off"},
            id="tables-are-made-unlocked",
        ),
    ],
)
def test_the_schema_is_made_statement_by_statement(
    secrets: dict[str, str], version: str, expected: dict[str, str]
) -> None:
    found = connection(secrets, "keystone-1", version=version)
    assert found.schema_parameters == expected
    assert found.parameters == {}, "isolation and session settings are the SQL user's own"
