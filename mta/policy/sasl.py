"""The server's side of SASL: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and -PLUS (RFC 5802, 7677), OAUTHBEARER (RFC 7628)
and XOAUTH2.

Owns: the messages of each mechanism, step by step. Never does: IO, base64 (the protocols around it have their own), or
the check of a password or token: PLAIN and LOGIN end in an ``Attempt``, the two others in a ``Token``, which somebody
else judges. Look-ups, nonces and the
salt of people who do not exist are passed in. What is malformed is ``Failed`` like what is wrong: a client learns no
more. A cancelled exchange is simply dropped.

One shape: ``step(response)`` with None for "no initial response", then with each response of the client, until the
answer is no ``Challenge``. SCRAM's last message is a challenge as well; the client answers it with an empty response.
Channel binding is offered where the caller has the octets of one; then a client that could have used it and was told
falsely that it cannot (gs2 flag "y") is turned away, as somebody stands between it and us.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from mta.directory.protocol import ScramKeys

#: The mechanism that is bound to the channel.
BOUND: Final = "SCRAM-SHA-256-PLUS"
#: Octets of one response, decoded. RFC 4954 §4 wants room for 12,288 before decoding.
RESPONSE_LIMIT: Final = 9_216
#: Octets of a name or a password in a response.
FIELD_LIMIT: Final = 1_024
#: Characters of a nonce that a client sends.
NONCE_LIMIT: Final = 256
#: Octets of a token; they are longer than passwords.
TOKEN_LIMIT: Final = 8_192
#: Mechanisms that show a token, and what is said to one that is not good (RFC 7628 §3.2.2), before the login fails.
TOKENS: Final = ("OAUTHBEARER", "XOAUTH2")
BAD_TOKEN: Final = b'{"status":"invalid_token"}'
_SCRAM_FIRST: Final = re.compile(
    r"(n|y|p=[A-Za-z0-9.-]+),(?:a=([^,]*))?,((?:m=[^,]*,)?n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)((?:,.*)?))"
)
_BEARER_FIRST: Final = re.compile(r"(?:n|y),(?:a=([^,\x01]*))?,\x01((?:[A-Za-z]+=[^\x01]*\x01)*)\x01")
_BEARER: Final = re.compile(r"auth=[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")
_XOAUTH2_FIRST: Final = re.compile(r"user=([^\x01]*)\x01(auth=[^\x01]*)\x01\x01")
_SCRAM_FINAL: Final = re.compile(
    r"(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]*)*),p=([A-Za-z0-9+/=]+)"
)


class Challenge(NamedTuple):
    """Say this, and go on with the client's response."""

    octets: bytes


class Attempt(NamedTuple):
    """The client says that it is ``user``, with this password; to be checked."""

    user: str
    password: str


class Proved(NamedTuple):
    """The client has proved that it is ``user``."""

    user: str


class Token(NamedTuple):
    """The client says that it is ``user`` ("": that the token says who), and shows a token; to be verified."""

    user: str
    token: str


class Failed(NamedTuple):
    """For the log, never for the client."""

    reason: str


Step = Challenge | Attempt | Proved | Token | Failed


class Mechanism(Protocol):
    def step(self, response: bytes | None) -> Step: ...


class Plain:
    """``[authzid] NUL authcid NUL password``. The authzid must be empty or the authcid: nobody acts for others."""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        if len(response) > RESPONSE_LIMIT:
            return Failed("the response is too long")
        fields = response.split(b"\0")
        if len(fields) != 3:
            return Failed("not three fields")
        try:
            authzid, user, password = (_text(field) for field in fields)
        except ValueError as error:
            return Failed(str(error))
        if authzid not in ("", user):
            return Failed("acts for somebody else")
        return Attempt(user, password) if user and password else Failed("an empty field")


class Login:
    """Name and password, asked for one after the other (no RFC; as Outlook speaks it)."""

    def __init__(self) -> None:
        self._user: str | None = None

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"Username:")
        try:
            text = _text(response)
        except ValueError as error:
            return Failed(str(error))
        if not text or "\0" in text:
            return Failed("an empty field")
        if self._user is None:
            self._user = text
            return Challenge(b"Password:")
        return Attempt(self._user, text)


class Scram:
    """SCRAM-SHA-256. ``keys_of(user)``: None for who does not exist or has none, may raise; ``nonce``: our half,
    printable and without a comma; ``fake``: the keys for a name that nobody has, always the same ones. ``bindings``:
    octets of the channel bindings that are offered here, by name; ``plus``: the client has chosen SCRAM-SHA-256-PLUS
    and must use one."""

    def __init__(
        self,
        keys_of: Callable[[str], ScramKeys | None],
        nonce: str,
        fake: Callable[[str], ScramKeys],
        bindings: Mapping[str, bytes] | None = None,
        *,
        plus: bool = False,
    ) -> None:
        self._bindings = bindings or {}
        self._plus = plus
        self._keys_of = keys_of
        self._our_nonce = nonce
        self._fake = fake
        self._next: Callable[[str], Step] = self._first

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"") if self._next == self._first else Failed("no response")
        if len(response) > RESPONSE_LIMIT:
            return Failed("the response is too long")
        try:
            return self._next(response.decode())
        except UnicodeDecodeError:
            return Failed("not UTF-8")

    def _first(self, message: str) -> Step:
        """``n,[a=authzid],n=user,r=nonce``"""
        found = _SCRAM_FIRST.fullmatch(message)
        if found is None:
            return Failed("not a first message")
        binding, authzid, bare, name, nonce, _ = found.groups()
        refusal = self._judge_binding(binding)
        if refusal or bare.startswith("m="):
            return Failed(refusal or "an extension that is not offered")
        try:
            user, other = _unescaped(name), _unescaped(authzid or "")
        except ValueError as error:
            return Failed(str(error))
        if not user or other not in ("", user) or len(nonce) > NONCE_LIMIT or len(user) > FIELD_LIMIT:
            return Failed("an empty or long field, or acts for somebody else")
        keys = self._keys_of(user)
        self._known = keys is not None
        self._keys = keys if keys is not None else self._fake(user)
        self._user = user
        self._nonce = nonce + self._our_nonce
        header = f"{binding},{f'a={authzid}' if authzid is not None else ''},"
        self._bound = header.encode() + self._bindings.get(binding.removeprefix("p="), b"")
        salt = base64.b64encode(self._keys.salt).decode()
        challenge = f"r={self._nonce},s={salt},i={self._keys.iterations}"
        self._said = f"{bare},{challenge}"
        self._next = self._final
        return Challenge(challenge.encode())

    def _judge_binding(self, flag: str) -> str:
        """What is wrong with the client's channel binding; "": nothing."""
        if flag.startswith("p="):
            known = self._plus and flag[2:] in self._bindings
            return "" if known else "channel binding that is not offered"
        if self._plus:
            return "no channel binding in SCRAM-SHA-256-PLUS"
        return "somebody took channel binding from our offer" if flag == "y" and self._bindings else ""

    def _final(self, message: str) -> Step:
        """``c=binding,r=nonce,p=proof``. Every reason to fail comes after the same computation."""
        found = _SCRAM_FINAL.fullmatch(message)
        if found is None:
            return Failed("not a final message")
        without_proof, binding, nonce, encoded = found.groups()
        said = f"{self._said},{without_proof}".encode()
        proof = _decoded(encoded)
        signature = hmac.digest(self._keys.stored_key, said, "sha256")
        key = bytes(a ^ b for a, b in zip(proof.ljust(32, b"\0"), signature, strict=False))
        right = hmac.compare_digest(sha256(key).digest(), self._keys.stored_key) and len(proof) == len(signature)
        if not hmac.compare_digest(nonce, self._nonce) or not hmac.compare_digest(_decoded(binding), self._bound):
            return Failed("another nonce or channel binding")
        if not right or not self._known:
            return Failed("wrong password" if self._known else "no such user, or no keys")
        self._next = self._acknowledged
        verifier = hmac.digest(self._keys.server_key, said, "sha256")
        return Challenge(b"v=" + base64.b64encode(verifier))

    def _acknowledged(self, message: str) -> Step:
        return Proved(self._user) if message == "" else Failed("more than was asked for")


class Bearer:
    """OAUTHBEARER. The gs2 header may name the user; host and port in it are the client's business."""

    def step(self, response: bytes | None) -> Step:
        text = _token_text(response)
        if not isinstance(text, str):
            return text
        found = _BEARER_FIRST.fullmatch(text)
        if found is None:
            return Failed("not a first message")
        shown = [_BEARER.fullmatch(pair) for pair in found[2].split("\x01") if pair.startswith("auth=")]
        if len(shown) != 1 or shown[0] is None:
            return Failed("no bearer token")
        try:
            return _token(_unescaped(found[1] or ""), shown[0][1])
        except ValueError as error:
            return Failed(str(error))


class XOAuth2:
    """XOAUTH2 (no RFC; as Google and Microsoft have it)."""

    def step(self, response: bytes | None) -> Step:
        text = _token_text(response)
        if not isinstance(text, str):
            return text
        found = _XOAUTH2_FIRST.fullmatch(text)
        shown = _BEARER.fullmatch(found[2]) if found is not None else None
        if found is None or shown is None or not found[1]:
            return Failed("not a first message")
        return _token(found[1], shown[1])


def _token_text(response: bytes | None) -> str | Challenge | Failed:
    if response is None:
        return Challenge(b"")
    if len(response) > TOKEN_LIMIT + FIELD_LIMIT:
        return Failed("the response is too long")
    try:
        return response.decode()
    except UnicodeDecodeError:
        return Failed("not UTF-8")


def _token(user: str, token: str) -> Token | Failed:
    if len(user) > FIELD_LIMIT or len(token) > TOKEN_LIMIT or "\0" in user:
        return Failed("a field is too long, or a NUL in it")
    return Token(user, token)


def _text(octets: bytes) -> str:
    """Raises ValueError."""
    if len(octets) > FIELD_LIMIT:
        raise ValueError("a field is too long")
    return octets.decode()


def _unescaped(name: str) -> str:
    """``=2C`` and ``=3D`` are a comma and an equals sign; no other may be there (RFC 5802 §5.1). Raises ValueError."""
    if re.search(r"=(?!2C|3D)|\0", name):
        raise ValueError("a name with a stray equals sign")
    return name.replace("=2C", ",").replace("=3D", "=")


def _decoded(text: str) -> bytes:
    """b"" for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
