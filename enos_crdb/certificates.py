"""Certificates of a CockroachDB cluster: one CA, a certificate per node, one per SQL user. Values only.

They are what `cockroach cert` makes (RSA 2048, ten years, organisation ``Cockroach``), so that the server takes them:
https://www.cockroachlabs.com/docs/stable/create-security-certificates-openssl
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANISATION = "Cockroach"
LIFETIME = timedelta(days=3653)
SKEW = timedelta(days=1)
"""How far a host's clock may be behind ours and still find the certificates valid."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str


def authority() -> Pair:
    """A new certificate authority."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = _name("Cockroach CA")
    builder = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def for_node(ca: Pair, names: Iterable[str]) -> Pair:
    """The certificate of a node that clients and other nodes reach under `names` (IP addresses, host names)."""
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(names)])
    return _issue(ca, "node", (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH), alternatives)


def for_user(ca: Pair, user: str) -> Pair:
    """The certificate with which `user` logs in."""
    return _issue(ca, user, (ExtendedKeyUsageOID.CLIENT_AUTH,), None)


def _issue(
    ca: Pair, common_name: str, purposes: Iterable[x509.ObjectIdentifier], names: x509.SubjectAlternativeName | None
) -> Pair:
    signer = load_pem_private_key(ca.key.encode(), password=None)
    if not isinstance(signer, rsa.RSAPrivateKey):
        raise TypeError("the key of a certificate authority made here is RSA")
    issuer = x509.load_pem_x509_certificate(ca.certificate.encode())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = (
        _builder(_name(common_name), issuer.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return _pair(builder.sign(signer, hashes.SHA256()), key)


def _builder(subject: x509.Name, issuer: x509.Name, public: rsa.RSAPublicKey) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pair(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> Pair:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return Pair(certificate=certificate.public_bytes(Encoding.PEM).decode(), key=private.decode())
