"""How a connection begins: encrypted or not, and whether its user may come in."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from . import messages
from .messages import ConnectionEnded, Wire
from .rules import Refusal


def opening(client: Wire, tls: ssl.SSLContext | None) -> tuple[Wire, int, bytes]:
    """The connection, encrypted when the client asked for that and `tls` allows it, and what the client opens it with:
    a code, and what follows."""
    code, body = client.read_startup()
    while code in {messages.SSL_REQUEST, messages.GSS_REQUEST}:
        if code == messages.SSL_REQUEST and tls is not None:
            client.send(b"S")
            try:
                client = Wire(tls.wrap_socket(client.socket, server_side=True))
            except OSError as error:
                raise ConnectionEnded(f"tls refused: {error}") from error
        else:
            client.send(b"N")
        code, body = client.read_startup()
    return client, code, body


def intruder(client: Wire, user: str, tls: ssl.SSLContext | None) -> Refusal | None:
    """Why `user` may not come in: with TLS it must be the common name of its certificate. A node may be root.

    Sources: vNN.N/common-errors#node-is-running-secure-mode-ssl-connection-required, vNN.N/authentication.
    """
    if tls is None:
        return None
    if not isinstance(client.socket, ssl.SSLSocket):
        text = "node is running secure mode, SSL connection required"
        return Refusal(rule="insecure-client", sqlstate="08P01", message=text)
    names = names_shown(client)
    if user in names or (user == "root" and "node" in names):
        return None
    text = f'certificate authentication failed for user "{user}"'
    return Refusal(rule="certificate", sqlstate="28000", message=text)


def names_shown(client: Wire) -> frozenset[str]:
    """Who the client is by its certificate; nobody when it showed none."""
    return common_names(client.socket.getpeercert()) if isinstance(client.socket, ssl.SSLSocket) else frozenset()


def common_names(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """Of a certificate as `ssl` gives it, if there is one."""
    subject = (certificate or {}).get("subject", ())
    return frozenset(value for part in subject for key, value in part if key == "commonName")
