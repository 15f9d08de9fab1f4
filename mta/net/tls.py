"""TLS of listeners: the context from its files, and what a handshake came to.

Owns: which versions and options are allowed (TLS 1.2 and later, no compression, no renegotiation). Never does:
handshakes; ``mta.net.server`` has the connection. Thread-safe.
"""

import asyncio
import ssl
from pathlib import Path
from typing import NamedTuple

from mta.errors import ConfigError

#: Seconds that a handshake may take.
HANDSHAKE = 30.0


class Tls(NamedTuple):
    """How a listener does TLS. ``implicit``: before the first word, instead of when the client asks."""

    context: ssl.SSLContext
    implicit: bool = False
    handshake: float = HANDSHAKE


class TlsFacts(NamedTuple):
    """As events name them: ``TLSv1.3``, ``TLS_AES_256_GCM_SHA384``."""

    version: str
    cipher: str


def server_context(certificate: Path, private_key: Path | None) -> ssl.SSLContext:
    """``certificate``: PEM, the chain in order; the key may be in the same file (None). Raises ConfigError, which names
    the file and what is wrong with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    key = private_key or certificate
    for path in (certificate, key):
        _readable(path)
    try:
        context.load_cert_chain(certificate, private_key, password=lambda: _encrypted(key))
    except ssl.SSLError as e:
        raise ConfigError([_complaint(certificate, key, e)]) from e
    return context


def facts(transport: asyncio.BaseTransport) -> TlsFacts | None:
    """None for a connection in the clear."""
    connection = transport.get_extra_info("ssl_object")
    if connection is None:
        return None
    cipher = connection.cipher()
    return TlsFacts(connection.version() or "", cipher[0] if cipher else "")


def _readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as e:
        raise ConfigError([f"{path}: cannot be read: {e.strerror or e}"]) from e


def _encrypted(key: Path) -> str:
    """Called when the key wants a passphrase: a server has nobody to ask."""
    raise ConfigError([f"{key}: the private key is encrypted; store it in the clear, readable for the server alone"])


def _complaint(certificate: Path, key: Path, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{key}: the private key is not that of {certificate}"
    if error.reason is None or "NO_START_LINE" in error.reason or error.reason == "PEM lib":
        return f"{certificate}, {key}: no certificate and private key in PEM form in there"
    return f"{certificate}, {key}: TLS cannot use them: {error.reason.lower().replace('_', ' ')}"
