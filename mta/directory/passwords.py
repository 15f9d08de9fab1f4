"""What is kept of a password, and the check of one.

Owns: the forms (argon2id and SCRAM-SHA-256 keys), their costs, the preparation of what people type. Never does: keep a
password, look anybody up, or decide when a check may run: ``verify`` and ``make_credentials`` take tens of
milliseconds of a core and the lock of no interpreter, so they belong into a thread of a bounded pool.
"""

import hmac
import os
import re
import stringprep
import unicodedata
from hashlib import pbkdf2_hmac, sha256
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from mta.directory.protocol import Credentials, ScramKeys
from mta.errors import DataError

#: The OWASP profile for little memory: KiB, passes, lanes. About 30 ms.
ARGON2_MEMORY: Final = 19 * 1024
ARGON2_TIME: Final = 2
ARGON2_LANES: Final = 1
#: Of SCRAM keys that are made; clients compute them at each login. RFC 7677 §4 asks for 4096 at least.
SCRAM_ITERATIONS: Final = 20_000
SCRAM_SALT: Final = 16
#: Octets of a password in UTF-8. A longer one is refused when set, and wrong when given.
PASSWORD_LIMIT: Final = 512

_NO_HASH: Final = "not an encoded argon2 hash ($argon2id$v=19$m=…)"
#: As the reference implementation reads it, which allows for no other order.
_ENCODED: Final = re.compile(
    r"\$argon2id(?:\$v=[0-9]+)?\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+", re.ASCII
)
_HASHER: Final = PasswordHasher(
    time_cost=ARGON2_TIME, memory_cost=ARGON2_MEMORY, parallelism=ARGON2_LANES, type=Type.ID
)


class BadPassword(DataError):
    """Nothing that can be a password: empty, too long, or with characters that nobody can type."""


def prepared(password: str) -> str:
    """SASLprep (RFC 4013), so that a password is the same from every keyboard; characters that Unicode 3.2 did not
    have are let through as they are. Raises BadPassword."""
    if len(password) > PASSWORD_LIMIT:
        raise BadPassword(f"the password is longer than {PASSWORD_LIMIT} octets")
    text = password
    if not password.isascii():
        mapped = (" " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c))
        text = unicodedata.normalize("NFKC", "".join(mapped))
    if not text:
        raise BadPassword("the password is empty")
    if any(map(_prohibited, text)) or not _one_direction(text):
        raise BadPassword("the password has characters in it that are none for passwords, such as control characters")
    if len(text.encode()) > PASSWORD_LIMIT:
        raise BadPassword(f"the password is longer than {PASSWORD_LIMIT} octets")
    return text


def make_credentials(password: str) -> Credentials:
    """For ``Changes.set_credentials``, which gives the version. Takes some 50 ms. Raises BadPassword."""
    text = prepared(password)
    return Credentials(_HASHER.hash(text), scram_keys(text, os.urandom(SCRAM_SALT)))


def scram_keys(text: str, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> ScramKeys:
    """Of a prepared password (RFC 5802 §3)."""
    salted = pbkdf2_hmac("sha256", text.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return ScramKeys(salt, iterations, sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def verify(credentials: Credentials | None, password: str) -> bool:
    """Whether it is the right one. None, or nobody's: takes the same time and says no. Takes some 30 ms."""
    try:
        text = prepared(password)
    except BadPassword:
        text, credentials = "-", None
    known = credentials is not None and bool(credentials.argon2)
    encoded = credentials.argon2 if credentials is not None and known else _NOBODY
    try:
        return _HASHER.verify(encoded, text) and known
    except (VerificationError, InvalidHashError):
        return False


def check_hash(encoded: str) -> str:
    """An encoded argon2id hash from elsewhere, as it is. Raises BadPassword for what is none, and for costs with which
    one login would stop all others."""
    from argon2 import extract_parameters

    try:
        costs = extract_parameters(encoded)
    except InvalidHashError:
        raise BadPassword(_NO_HASH) from None
    if costs.type is not Type.ID or costs.memory_cost * costs.time_cost > 16 * ARGON2_MEMORY * ARGON2_TIME:
        raise BadPassword("not an argon2id hash, or one of more than 16 times the usual cost")
    possible = costs.time_cost > 0 and costs.memory_cost >= 8 * costs.parallelism > 0 and costs.salt_len >= 8
    if not possible or not _ENCODED.fullmatch(encoded):
        raise BadPassword(_NO_HASH)  # no password would ever be right, and faster wrong than others
    return encoded


def _prohibited(character: str) -> bool:
    """RFC 4013 §2.3. What is no character of Unicode 3.2 is let through."""
    if character.isascii():
        return not character.isprintable()
    return (
        stringprep.in_table_c12(character)
        or stringprep.in_table_c21_c22(character)
        or stringprep.in_table_c3(character)
        or stringprep.in_table_c4(character)
        or stringprep.in_table_c5(character)
        or stringprep.in_table_c6(character)
        or stringprep.in_table_c7(character)
        or stringprep.in_table_c8(character)
        or stringprep.in_table_c9(character)
    )


def _one_direction(text: str) -> bool:
    """RFC 3454 §6: right-to-left letters not mixed with others, and at both ends."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    return (
        not any(map(stringprep.in_table_d2, text))
        and stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
    )


#: What is checked for somebody who does not exist or has no password; of the same costs as all others.
_NOBODY: Final = _HASHER.hash(os.urandom(16).hex())
