"""TLS of listeners: the contexts from their files, read again when these change, and what a handshake came to.

Owns: which versions and options are allowed (TLS 1.2 and later, no compression, no renegotiation), which certificate a
client is shown, and that a broken new file does not take the place of a good old one. Tickets for resumption are
OpenSSL's, made under keys of one context in one process; they bring back keys and a client's certificate, never a
login, and there are none where a name chooses between certificates. Never does: handshakes; ``mta.net.handshake``
does. Loop thread only, but for ``server_context``.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from mta.clock import Clock, SystemClock
from mta.config import Config
from mta.config.sections import Listener
from mta.errors import ConfigError

_log = logging.getLogger("mta.tls")

#: Seconds that a handshake may take.
HANDSHAKE = 30.0
#: Seconds for which a look at the files holds.
LOOK_EVERY: Final = 1.0
#: A certificate that ends within this time deserves a word.
SOON: Final = timedelta(days=7)


class Leaf(NamedTuple):
    """What we ask of our own certificate. ``names``: lower case, "*." in front of a wildcard's. ``end_point``: channel
    binding tls-server-end-point (RFC 5929); b"": it is not defined."""

    names: tuple[str, ...]
    end_point: bytes
    not_before: datetime
    not_after: datetime


class ServerContext(ssl.SSLContext):
    """A context that knows its certificate."""

    leaf: Leaf


class Files(NamedTuple):
    """PEM: the chain in order; the key may be in the same file (None)."""

    certificate: Path
    private_key: Path | None = None


class Certificates:
    """The certificates of one listener. ``files``: the first is shown to who asks for no name, or for an unknown one.
    ``client_ca``: who has signed clients' certificates. Raises ConfigError."""

    def __init__(self, files: Iterable[Files], client_ca: Path | None = None, clock: Clock | None = None) -> None:
        self._files = tuple(files)
        self._client_ca = client_ca
        self._clock = clock or SystemClock()
        self._stamp = self._stamp_now()
        self._contexts = self._load()
        self._look_at = self._clock.monotonic() + LOOK_EVERY

    def context(self) -> ssl.SSLContext:
        """What the next handshake, and no other, is made with. Looks at the files at most once a second."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._stamp = stamp
                self._load_again()
        return self._contexts[0] if len(self._contexts) == 1 else self._front()

    def _front(self) -> ssl.SSLContext:
        """Of several certificates a name chooses one. Sessions belong to the context in which a handshake begins, and
        OpenSSL resumes them there under whatever name (RFC 6066 §3 forbids it). So each handshake has a front of its
        own, which costs 0.3 ms and 15 KiB: nothing is resumed, and a client shows its certificate anew."""
        front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(front)
        front.verify_mode = self._contexts[0].verify_mode
        front.sni_callback = self._names.choose
        return front

    @property
    def contexts(self) -> tuple[ServerContext, ...]:
        """One per certificate, in the order of the files."""
        return self._contexts

    def _load_again(self) -> None:
        try:
            self._contexts = self._load()
        except ConfigError as error:
            _log.error("%s; the certificate that was loaded before stays", "; ".join(error.findings))
        else:
            _log.info("%s: loaded anew", self._files[0].certificate)

    def _load(self) -> tuple[ServerContext, ...]:
        contexts = tuple(server_context(*files) for files in self._files)
        for context in contexts:
            if self._client_ca is not None:
                _ask_clients(context, self._client_ca)
        self._names = _Names(contexts)
        return contexts

    def _stamp_now(self) -> tuple[tuple[int, int, int] | None, ...]:
        paths = [path for files in self._files for path in files if path is not None]
        return tuple(map(_stamp, [*paths, self._client_ca] if self._client_ca is not None else paths))


class _Names:
    """Name → context; an exact one goes before a wildcard, an earlier certificate before a later one. The first is for
    who asks for no name, or for an unknown one."""

    def __init__(self, contexts: tuple[ServerContext, ...]) -> None:
        self._first = contexts[0]
        self._by_name: dict[str, ServerContext] = {}
        for context in contexts:
            for name in context.leaf.names:
                self._by_name.setdefault(name, context)

    def choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        asked = (name or "").lower().rstrip(".")
        found = self._by_name.get(asked) or self._by_name.get(f"*.{asked.partition('.')[2]}")
        connection.context = found or self._first


class Tls(NamedTuple):
    """How a listener does TLS. ``implicit``: before the first word, instead of when the client asks. ``handshake``:
    seconds for it."""

    keys: Certificates | ssl.SSLContext
    implicit: bool = False
    handshake: float = HANDSHAKE

    @property
    def context(self) -> ssl.SSLContext:
        """For the next handshake."""
        return self.keys if isinstance(self.keys, ssl.SSLContext) else self.keys.context()


#: The one channel binding that the ssl module lets a server have under every version of TLS.
BINDING: Final = "tls-server-end-point"


def bindings_of(tls: Tls | None) -> dict[str, bytes]:
    """Channel bindings that every certificate of a listener has: what may be offered before a client has come."""
    contexts = tls.keys.contexts if tls is not None and isinstance(tls.keys, Certificates) else ()
    ends = [context.leaf.end_point for context in contexts]
    return {BINDING: ends[0]} if ends and all(ends) else {}


class TlsFacts(NamedTuple):
    """As events name them: ``TLSv1.3``, ``TLS_AES_256_GCM_SHA384``. ``peer``: the subject of the client's verified
    certificate, "" without one. ``bindings``: octets of the channel bindings (RFC 5929) of this connection, by name."""

    version: str
    cipher: str
    peer: str = ""
    bindings: Mapping[str, bytes] = MappingProxyType({})


def tls_of(listener: Listener, clock: Clock | None = None) -> Tls | None:
    """What a configured listener makes TLS with; None: nothing. Raises ConfigError, which names the files."""
    if listener.tls == "none" or listener.certificate is None:
        return None
    first = Files(listener.certificate, listener.private_key)
    further = [Files(more.certificate, more.private_key) for more in listener.certificates]
    return Tls(Certificates([first, *further], listener.client_ca, clock), listener.tls == "implicit")


def check_certificates(config: Config, now: int) -> list[str]:
    """Loads what the listeners of a configuration need, and forgets it. A line for each certificate that is not valid
    at ``now`` (ms). Raises ConfigError with every finding."""
    lines: list[str] = []
    findings: list[str] = []
    for number, listener in enumerate(config.listener):
        try:
            tls = tls_of(listener)
        except ConfigError as error:
            findings += [f"listener[{number}]: {finding}" for finding in error.findings]
            continue
        contexts = tls.keys.contexts if tls is not None and isinstance(tls.keys, Certificates) else ()
        files = [listener.certificate, *(more.certificate for more in listener.certificates)]
        for file, context in zip(files, contexts, strict=False):
            lines += [f"listener[{number}]: {file}: {text}" for text in _untimely(context.leaf, now)]
    if findings:
        raise ConfigError(findings)
    return lines


def _untimely(leaf: Leaf, now: int) -> Iterator[str]:
    if now >= leaf.not_after.timestamp() * 1000:
        yield f"the certificate was valid until {leaf.not_after:%Y-%m-%d %H:%M} UTC: clients will refuse it"
    elif now >= (leaf.not_after - SOON).timestamp() * 1000:
        yield f"the certificate is valid until {leaf.not_after:%Y-%m-%d %H:%M} UTC only"
    if now < leaf.not_before.timestamp() * 1000:
        yield f"the certificate is not valid before {leaf.not_before:%Y-%m-%d %H:%M} UTC"


def server_context(certificate: Path, private_key: Path | None) -> ServerContext:
    """``certificate``: PEM, the chain in order; the key may be in the same file (None). Raises ConfigError, which names
    the file and what is wrong with it."""
    from mta.net.certificate import read_certificate  # cryptography takes 60 ms and 10 MB: only where it is needed

    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    key = private_key or certificate
    for path in (certificate, key):
        _readable(path)
    try:
        context.load_cert_chain(certificate, private_key, password=lambda: _encrypted(key))
        leaf = read_certificate(certificate.read_bytes())
    except ssl.SSLError as e:
        raise ConfigError([_complaint(certificate, key, e)]) from e
    except ValueError as e:
        raise ConfigError([f"{certificate}: the certificate cannot be read: {e}"]) from e
    context.leaf = leaf
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def facts(transport: asyncio.BaseTransport) -> TlsFacts | None:
    """None for a connection in the clear."""
    connection = transport.get_extra_info("ssl_object")
    if connection is None:
        return None
    cipher = connection.cipher()
    context = connection.context
    peer = connection.getpeercert() if context.verify_mode != ssl.CERT_NONE else None
    return TlsFacts(connection.version() or "", cipher[0] if cipher else "", _subject(peer), _bindings(connection))


def _bindings(connection: ssl.SSLObject) -> dict[str, bytes]:
    """tls-unique is not defined for TLS 1.3 (RFC 9266 §2)."""
    context = connection.context
    found = {BINDING: context.leaf.end_point if isinstance(context, ServerContext) else b""}
    if connection.version() != "TLSv1.3":
        found["tls-unique"] = connection.get_channel_binding("tls-unique") or b""
    return {name: octets for name, octets in found.items() if octets}


def _subject(peer: dict[str, tuple[tuple[tuple[str, str], ...], ...]] | None) -> str:
    """``commonName=…, organizationName=…`` in the certificate's order."""
    parts = [f"{name}={value}" for part in (peer or {}).get("subject", ()) for name, value in part]
    return ", ".join(parts)


def _ask_clients(context: ssl.SSLContext, authority: Path) -> None:
    _readable(authority)
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as e:
        raise ConfigError([f"{authority}: no certificate of an authority in PEM form in there"]) from e
    context.verify_mode = ssl.CERT_OPTIONAL


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes with the file; None: it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


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
