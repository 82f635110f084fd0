"""Certificates: who may talk to whom, and how a connection to a node begins."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from tests.doubles.cockroachdb_wire import ConnectionEnded, Wire, messages
from tests.doubles.cockroachdb_wire.opening import common_names

CONNECT_S = 5.0


class CertificateError(Exception):
    """A certificate or key that cannot be used; the message is what ``cockroach`` would say."""


class Unreachable(Exception):
    """Nobody answers there, or not as a node of this cluster."""


@dataclass(frozen=True)
class Trust:
    """The certificates of one directory; no directory means ``--insecure``."""

    directory: Path | None

    def server(self) -> ssl.SSLContext | None:
        """Context of a node's own port: a client may show a certificate, and it must be of our CA."""
        if self.directory is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context, "node")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def console(self) -> ssl.SSLContext | None:
        """Context of the HTTP port: nobody is asked for a certificate."""
        if (context := self.server()) is not None:
            context.verify_mode = ssl.CERT_NONE
        return context

    def client(self, user: str) -> ssl.SSLContext | None:
        """Context of a client that is `user` (``node`` for nodes)."""
        if self.directory is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._load(context, "node" if user == "node" else f"client.{user}")
        return context

    def _load(self, context: ssl.SSLContext, name: str) -> None:
        assert self.directory is not None
        authority, certificate, key = (self.directory / file for file in ("ca.crt", f"{name}.crt", f"{name}.key"))
        for path in (authority, certificate, key):
            if not path.is_file():
                raise CertificateError(f"problem with {path.name}: not found in {self.directory}")
        _key_is_private(key)
        try:
            context.load_verify_locations(authority)
            context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as error:
            raise CertificateError(f"problem with {certificate}: {error}") from error

    def check_node(self) -> None:
        """Raise `CertificateError` unless the node's certificate is of the CA beside it and is called ``node``."""
        if self.directory is None:
            return
        names = _names_seen_by_a_client(self.server(), self.client("node"))
        if "node" not in names:
            said = f"it is for {', '.join(sorted(names))}, not for node"
            raise CertificateError(f"problem with {self.directory}/node.crt: {said}")


def _key_is_private(key: Path) -> None:
    found = key.stat()
    limit = 0o740 if found.st_uid == 0 and found.st_gid in (os.getgid(), *os.getgroups()) else 0o700
    if found.st_mode & 0o777 & ~limit:
        shown = (stat.filemode(found.st_mode), stat.filemode(stat.S_IFREG | limit))
        raise CertificateError(f"key file {key} has permissions {shown[0]}, exceeds {shown[1]}")


def _names_seen_by_a_client(server: ssl.SSLContext | None, client: ssl.SSLContext | None) -> frozenset[str]:
    """Shake hands with ourselves in memory: the chain is verified and the name read as another node would."""
    assert server is not None
    assert client is not None
    client.check_hostname = False
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up)
    theirs = server.wrap_bio(up, down, server_side=True)
    try:
        for _ in range(4):
            for side in (ours, theirs):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLError as error:
        raise CertificateError(f"problem with node.crt: {error}") from error
    return common_names(ours.getpeercert())


def host_and_port(address: str, port: int = 26257) -> tuple[str, int]:
    host, _, number = address.rpartition(":") if ":" in address else (address, "", "")
    return host or "localhost", int(number or port)


def connect(address: str, trust: Trust, user: str, timeout_s: float = CONNECT_S) -> Wire:
    """A connection to a node's port, TLS done. Raises `Unreachable`, `CertificateError`."""
    host, port = host_and_port(address)
    context = trust.client(user)
    try:
        plain = messages.connect((host, port), timeout_s)
    except OSError as error:
        raise Unreachable(f"dial tcp {host}:{port}: {error.strerror or error}") from error
    if context is None:
        plain.socket.settimeout(None)
        return plain
    try:
        plain.send(messages.startup(messages.SSL_REQUEST, b""))
        if plain.received() != b"S":
            raise Unreachable(f"{host}:{port}: SSL is not enabled on the server")
        secured = context.wrap_socket(plain.socket, server_hostname=host)
        secured.settimeout(None)
    except ssl.SSLError as error:
        raise CertificateError(f"{host}:{port}: x509: {error}") from error
    except (OSError, ConnectionEnded) as error:
        raise Unreachable(f"{host}:{port}: {error}") from error
    return Wire(secured)
