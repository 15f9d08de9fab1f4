"""The client's side of SASL: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677, 9266).

Owns: which mechanism is taken of those offered, and the messages of each, step by step. Never does: IO, base64, or
random numbers: the nonce is passed in. A mechanism that shows the password is for TLS only; with SCRAM the remote has
to prove that it knows us, and one that does not is not believed.

One shape, as the client session wants it: ``step(None)`` gives the initial response (None: the mechanism has none),
``step(challenge)`` the next one, None when there is no answer to that; ``finished`` says that nothing is left to prove.
"""

import base64
import binascii
import hmac
import re
from functools import lru_cache
from hashlib import pbkdf2_hmac, sha256
from typing import Final, NamedTuple, Protocol

from mta.routing.destination import Login

#: Iterations that a remote may ask of us: 600,000 take about 0.2 s of a core, and the loop waits for them; once, as
#: what comes out is kept for the next connection (RFC 5802 §5.1 lets us).
ITERATIONS_LIMIT: Final = 600_000
#: RFC 7677 §4 wants 4,096 at least; what asks for fewer wants to guess the password.
ITERATIONS_LEAST: Final = 4_096
_SCRAM: Final = "SCRAM-SHA-256"
_FIRST: Final = re.compile(r"r=([\x21-\x2b\x2d-\x7e]{1,512}),s=([A-Za-z0-9+/=]{4,512}),i=([1-9][0-9]{0,8})(?:,.*)?")
_FINAL: Final = re.compile(r"v=([A-Za-z0-9+/=]{1,128})(?:,.*)?")


class Binding(NamedTuple):
    """What TLS gives for channel binding: its type (``tls-exporter``, ``tls-unique``) and its octets."""

    kind: str
    octets: bytes


class Exchange(Protocol):
    """A login under way."""

    @property
    def name(self) -> str: ...

    @property
    def finished(self) -> bool: ...

    def step(self, challenge: bytes | None) -> bytes | None: ...


def choose(offered: str, login: Login, nonce: str, *, secure: bool, binding: Binding | None = None) -> Exchange | None:
    """The best mechanism of ``offered`` (the parameters of the AUTH keyword); None when none of them may be used.
    ``nonce``: printable ASCII without a comma, fresh for every login."""
    names = set(offered.upper().split())
    if f"{_SCRAM}-PLUS" in names and binding is not None:
        return Scram(login, nonce, binding, plus=True)
    if _SCRAM in names:
        return Scram(login, nonce, binding, plus=False)
    if "PLAIN" in names and secure:
        return Plain(login)
    if "LOGIN" in names and secure:
        return LoginExchange(login)
    return None


class Plain:
    """Everything in the initial response."""

    name = "PLAIN"
    finished = True

    def __init__(self, login: Login) -> None:
        self._login = login
        self._asked_again = False

    def step(self, challenge: bytes | None) -> bytes | None:
        """A server that wants the initial response separately says an empty challenge, once; none other has an answer,
        or a login would never come to an end."""
        if challenge or (challenge is not None and self._asked_again):
            return None
        self._asked_again = challenge is not None
        return f"\0{self._login.user}\0{self._login.password}".encode()


class LoginExchange:
    """Name and password, as they are asked for; what the questions say varies, so they are only counted."""

    name = "LOGIN"

    def __init__(self, login: Login) -> None:
        self._answers = [login.user.encode(), login.password.encode()]

    @property
    def finished(self) -> bool:
        return not self._answers

    def step(self, challenge: bytes | None) -> bytes | None:
        return self._answers.pop(0) if challenge is not None and self._answers else None


class Scram:
    """SCRAM-SHA-256. ``plus``: the mechanism with channel binding. Without it a ``binding`` that we could have used is
    told to the server (flag "y"), so that one that offers -PLUS finds out who took it from its list."""

    def __init__(self, login: Login, nonce: str, binding: Binding | None, *, plus: bool) -> None:
        self.name = f"{_SCRAM}-PLUS" if plus else _SCRAM
        self.finished = False
        self._password = login.password.encode()
        self._nonce = nonce
        self._bare = f"n={login.user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self._header = b"n,,"
        self._bound = b""
        if plus:
            assert binding is not None
            self._header = f"p={binding.kind},,".encode()
            self._bound = binding.octets
        elif binding is not None:
            self._header = b"y,,"
        self._signature: bytes | None = None

    def step(self, challenge: bytes | None) -> bytes | None:
        if challenge is None:
            return self._header + self._bare.encode()
        if len(challenge) > 2048 or self.finished:
            return None
        try:
            text = challenge.decode("ascii")
        except UnicodeDecodeError:
            return None
        return self._answer(text) if self._signature is None else self._verify(text)

    def _answer(self, challenge: str) -> bytes | None:
        """``r=nonce,s=salt,i=iterations``: our proof."""
        found = _FIRST.fullmatch(challenge)
        if found is None or challenge.startswith("m="):
            return None
        nonce, encoded, count = found.groups()
        salt = _decoded(encoded)
        wanted = ITERATIONS_LEAST <= int(count) <= ITERATIONS_LIMIT
        if not wanted or not salt or not nonce.startswith(self._nonce) or nonce == self._nonce:
            return None
        salted = _salted(self._password, salt, int(count))
        bound = base64.b64encode(self._header + self._bound).decode()
        final = f"c={bound},r={nonce}"
        said = f"{self._bare},{challenge},{final}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        mask = hmac.digest(sha256(key).digest(), said, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, mask, strict=True))
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256")
        return f"{final},p={base64.b64encode(proof).decode()}".encode()

    def _verify(self, challenge: str) -> bytes | None:
        """``v=signature``: the server knows our password as well."""
        found = _FINAL.fullmatch(challenge)
        assert self._signature is not None
        if found is None or not hmac.compare_digest(_decoded(found[1]), self._signature):
            return None
        self.finished = True
        return b""


@lru_cache(maxsize=64)
def _salted(password: bytes, salt: bytes, iterations: int) -> bytes:
    return pbkdf2_hmac("sha256", password, salt, iterations)


def _decoded(text: str) -> bytes:
    """b"" for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
