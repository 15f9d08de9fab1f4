"""A policy for server sessions that logs people in with every mechanism there is, and what clients say to it.

Owns: one password for everybody, one token, and conversations that succeed. The mechanisms are those of
``mta.policy.sasl``, so that an exchange goes as it does in the server. Never does: assertions.
"""

import base64
from functools import lru_cache

from mta.directory.passwords import scram_keys
from mta.directory.protocol import ScramKeys
from mta.policy import sasl, sasl_client
from mta.routing.destination import Login
from mta_ext.deciding import Verdict
from tests.harness.recording_handler import RecordingHandler

MECHANISMS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
PASSWORD = "secret"
TOKEN = "mF_9.B5f-4.1JqM"
_BINDING = sasl_client.Binding("tls-server-end-point", b"b" * 32)
_NONCE = "nonce"


@lru_cache(maxsize=4)
def _keys(user: str) -> ScramKeys:
    return scram_keys(PASSWORD, b"salt" * 4, 4096)


def mechanism_named(name: str) -> sasl.Mechanism:
    """Fresh, for one exchange."""
    bindings = {_BINDING.kind: _BINDING.octets}
    simple = {"PLAIN": sasl.Plain, "LOGIN": sasl.Login, "OAUTHBEARER": sasl.Bearer, "XOAUTH2": sasl.XOAuth2}
    if name in simple:
        return simple[name]()
    known = {"paula", "waits", "raises"}
    return sasl.Scram(
        lambda user: _keys("") if user in known else None,
        _NONCE,
        _keys,
        bindings,
        plus=name.endswith("-PLUS"),
    )


class LoginHandler(RecordingHandler):
    """``before_tls``: calls before the handshake; None while there was none."""

    def __init__(self, *, pending: bool = False) -> None:
        super().__init__(pending=pending)
        self.before_tls: int | None = None

    def on_sasl(self, mechanism: str, response: bytes | None) -> Verdict:
        self.calls.append(("sasl", mechanism, response))
        if self.session.exchange_step == 0:
            self._exchange = mechanism_named(mechanism)
        step = self._exchange.step(response)
        if isinstance(step, sasl.Challenge):
            return self._verdict("", b"334 %b\r\n" % base64.b64encode(step.octets))
        good = isinstance(step, sasl.Proved)
        good = good or (isinstance(step, sasl.Attempt) and step.password == PASSWORD)
        good = good or (isinstance(step, sasl.Token) and step.token == TOKEN)
        if not good or isinstance(step, sasl.Failed):
            return self._verdict("", b"535 5.7.8 wrong\r\n")
        self.session.log_in(step.user or "somebody")
        return self._verdict(step.user)


def _said(octets: bytes | None) -> bytes:
    return base64.b64encode(octets or b"") + b"\r\n"


def _scram(name: str, *, initial: bool) -> bytes:
    """A whole exchange of a client that knows the password."""
    server = mechanism_named(name)
    plus = name.endswith("-PLUS")
    client = sasl_client.Scram(Login("paula", PASSWORD), "client", _BINDING if plus else None, plus=plus)
    response = client.step(None)
    said = b"AUTH " + name.encode() + (b" " + _said(response) if initial else b"\r\n" + _said(response))
    while not client.finished:
        step = server.step(response)
        assert isinstance(step, sasl.Challenge), step
        response = client.step(step.octets)
        said += _said(response)
    return said


def exchanges() -> list[bytes]:
    """What a client says from AUTH on; good ones, and bad ones of each kind."""
    plain = base64.b64encode(f"\0paula\0{PASSWORD}".encode())
    bearer = base64.b64encode(f"n,a=paula,\x01host=h\x01auth=Bearer {TOKEN}\x01\x01".encode())
    xoauth2 = base64.b64encode(f"user=paula\x01auth=Bearer {TOKEN}\x01\x01".encode())
    login = base64.b64encode(b"paula") + b"\r\n" + base64.b64encode(PASSWORD.encode()) + b"\r\n"
    good = [
        b"AUTH PLAIN %b\r\n" % plain,
        b"AUTH PLAIN\r\n%b\r\n" % plain,
        b"AUTH LOGIN\r\n" + login,
        b"AUTH LOGIN " + login,
        b"AUTH OAUTHBEARER %b\r\n" % bearer,
        b"AUTH XOAUTH2\r\n%b\r\n" % xoauth2,
        *(_scram(name, initial=initial) for name in MECHANISMS[:2] for initial in (True, False)),
    ]
    bad = [
        b"AUTH PLAIN =\r\n",
        b"AUTH PLAIN\r\n*\r\n",
        b"AUTH LOGIN\r\n*\r\nAUTH LOGIN\r\n\r\n",
        b"AUTH LOGIN %%%\r\n",
        b"AUTH PLAIN\r\nno base64\r\n",
        b"AUTH SCRAM-SHA-256\r\nbiws\r\n",
        b"AUTH\r\nAUTH NTLM\r\nAUTH PLAIN \r\n",
        b"AUTH PLAIN\r\n" + b"A" * 500 + b"\r\n",
        b"AUTH PLAIN %b\r\nAUTH PLAIN %b\r\n" % (plain, plain),
    ]
    return good + bad
