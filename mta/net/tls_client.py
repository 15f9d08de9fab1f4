"""TLS towards remotes: what a connection wants of it, the contexts, and what a handshake came to.

Owns: which versions are allowed (TLS 1.2 and later), whether certificates are checked, sessions that are resumed,
channel binding. Never does: handshakes; ``mta.net.handshake`` does. Loop thread only.
"""

import ssl
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from mta.errors import ConfigError
from mta.policy.sasl_client import Binding

#: Seconds that a handshake may take.
HANDSHAKE: Final = 30.0
#: Host names whose last session is kept for resumption, about 5 KiB each.
SESSIONS: Final = 512

Mode = Literal["none", "opportunistic", "required", "verify", "implicit"]
#: In which the certificate is checked, against the host's name and the authorities of the context.
CHECKED: Final = ("verify", "implicit")


class ClientContext(ssl.SSLContext):
    """Resumes the last session with a host of the same name: half a round trip and two signatures less. asyncio has no
    way to say so, but makes its connections here."""

    def wrap_bio(self, incoming: Any, outgoing: Any, server_side: bool = False, server_hostname: Any = None,
                 session: Any = None) -> ssl.SSLObject:  # fmt: skip
        known = self._sessions().get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session or known)

    def remember(self, connection: ssl.SSLObject) -> None:
        """Called when the connection has been used: with TLS 1.3 tickets come behind the handshake."""
        session, sessions = connection.session, self._sessions()
        if session is not None and session.has_ticket and connection.server_hostname is not None:
            sessions.pop(connection.server_hostname, None)
            sessions[connection.server_hostname] = session
            if len(sessions) > SESSIONS:
                del sessions[next(iter(sessions))]

    def _sessions(self) -> dict[str, ssl.SSLSession]:
        found: dict[str, ssl.SSLSession] = self.__dict__.setdefault("sessions", {})
        return found


class ClientTls(NamedTuple):
    """How a connection does TLS. No context: it does none."""

    mode: Mode = "none"
    context: ClientContext | None = None
    handshake: float = HANDSHAKE


NO_TLS: Final = ClientTls()


def client_context(*, check: bool, authorities: Path | None = None) -> ClientContext:
    """``check``: the certificate must be valid for the host's name, signed by the authorities of this file (PEM), or of
    the system. Raises ConfigError."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if not check:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if authorities is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as e:
        raise ConfigError([f"{authorities}: no certificates in PEM form in there"]) from e
    except OSError as e:
        raise ConfigError([f"{authorities}: cannot be read: {e.strerror or e}"]) from e
    return context


def binding_of(connection: ssl.SSLObject) -> Binding | None:
    """What SCRAM can bind itself to: tls-exporter with TLS 1.3, where the interpreter has it, else tls-unique, which is
    not defined there (RFC 9266 §2)."""
    kind = "tls-exporter" if connection.version() == "TLSv1.3" else "tls-unique"
    if kind not in ssl.CHANNEL_BINDING_TYPES:
        return None
    octets = connection.get_channel_binding(kind)
    return Binding(kind, octets) if octets else None


def complaint(error: Exception) -> str:
    """One line for an operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate cannot be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {(getattr(error, 'reason', None) or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError):
        return "the TLS handshake took too long"
    return f"the TLS handshake failed: {str(error) or type(error).__name__}"
