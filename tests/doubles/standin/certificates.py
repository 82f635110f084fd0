"""``cockroach cert``, made with openssl: CN and SAN as CockroachDB's own (docs: cockroach-cert)."""

from __future__ import annotations

import argparse
import ipaddress
import os
import subprocess
from pathlib import Path

from tests.doubles.standin.trust import CertificateError

Arguments = argparse.Namespace


def create_ca(chosen: Arguments) -> int:
    """``cert create-ca``: ca.crt, and its key elsewhere."""
    _private(chosen.certs_dir)
    if not chosen.ca_key.exists():
        _openssl("genrsa", "-out", chosen.ca_key, chosen.key_size)
        chosen.ca_key.chmod(0o600)
    subject = ("-subj", "/O=Cockroach/CN=Cockroach CA", "-days", _days(chosen))
    _openssl("req", "-x509", "-new", "-key", chosen.ca_key, *subject, "-out", chosen.certs_dir / "ca.crt")
    return 0


def create_node(chosen: Arguments) -> int:
    """``cert create-node NAME...``: the names and addresses a node is reached by."""
    if not chosen.names:
        raise CertificateError("create-node requires at least one host name or address")
    _sign(chosen, "node", "node", [_alternative(name) for name in chosen.names], "serverAuth,clientAuth")
    return 0


def create_client(chosen: Arguments) -> int:
    """``cert create-client USER``."""
    if len(chosen.names) != 1:
        raise CertificateError("create-client requires exactly one user name")
    _sign(chosen, f"client.{chosen.names[0]}", chosen.names[0], [], "clientAuth")
    return 0


def _sign(chosen: Arguments, file: str, name: str, alternatives: list[str], usage: str) -> None:
    directory: Path = chosen.certs_dir
    key, certificate, request = (directory / f"{file}.{ending}" for ending in ("key", "crt", "csr"))
    if certificate.exists() and not chosen.overwrite:
        raise CertificateError(f"file already exists: {certificate}")
    _openssl("genrsa", "-out", key, chosen.key_size)
    key.chmod(0o600)
    _openssl("req", "-new", "-key", key, "-subj", f"/O=Cockroach/CN={name}", "-out", request)
    extensions = directory / f"{file}.ext"
    lines = [f"extendedKeyUsage={usage}", *([f"subjectAltName={','.join(alternatives)}"] if alternatives else [])]
    extensions.write_text("\n".join(lines) + "\n")
    signer = (
        "-CA",
        directory / "ca.crt",
        "-CAkey",
        chosen.ca_key,
        "-CAcreateserial",
        "-CAserial",
        directory / "ca.srl",
    )
    _openssl(
        "x509", "-req", "-in", request, *signer, "-days", _days(chosen), "-extfile", extensions, "-out", certificate
    )
    for path in (request, extensions, directory / "ca.srl"):
        path.unlink()


def _alternative(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _days(chosen: Arguments) -> str:
    return str(max(int(chosen.lifetime.partition("h")[0]) // 24, 1))


def _private(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def _openssl(*arguments: object) -> None:
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "RANDFILE": ""})
    if done.returncode:
        raise CertificateError(f"STAND-IN: {' '.join(command)}: {done.stderr}")
