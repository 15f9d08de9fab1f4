"""The tables of the directory: names, keys, records.

Owns: how a key or value looks on disk (format version 1), and where the files lie. Never does: IO, transactions.

``entry``    folded address, or ``@domain`` → msgpack array of ``Entry``: all that a look-up needs, in one read
``group``    kind (1 octet) + folded address → nothing: aliases and lists in order, without the people between them
``person``   id (8, big-endian) → msgpack map of ``Person``
``secret``   id (8) → msgpack array of ``Credentials``
``word``     folded word + NUL + id (8) → nothing: for searches by the beginning of a word
``meta``     ``next`` → the id (8) that the next person gets; it only grows. ``key`` → 32 random octets
"""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from struct import Struct
from typing import Final

import msgspec

from mta.directory.addresses import fold, split
from mta.directory.protocol import Credentials, Kind, Person, Resolution, ScramKeys
from mta.disk.environment import Layout

NAMES: Final = (b"entry", b"group", b"person", b"secret", b"word", b"meta")
LAYOUT: Final = Layout("directory", NAMES, version=1)
NEXT_KEY: Final = b"next"
RANDOM_KEY: Final = b"key"

#: Octets of a key in LMDB.
KEY_LIMIT: Final = 511
#: Characters of a word that are looked at.
WORD_LIMIT: Final = 60

MAILBOX, ALIAS, LIST = 0, 1, 2
KINDS: Final[tuple[Kind, Kind, Kind]] = ("mailbox", "alias", "list")


class Entry(msgspec.Struct, array_like=True):
    """What an address leads to. ``address``: of a person the own one, also under the further ones."""

    kind: int
    address: str
    mailbox: int = 0
    targets: list[str] = []
    owner: str = ""


class _Secret(msgspec.Struct, array_like=True):
    """``Credentials`` as they are kept."""

    argon2: str
    scram: tuple[bytes, int, bytes, bytes] | None
    version: int


id_key = Struct(">Q").pack
_unpack_id = Struct(">Q").unpack_from

encode = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode
decode_person = msgspec.msgpack.Decoder(Person).decode
_decode_secret = msgspec.msgpack.Decoder(_Secret).decode


def directory_path(data_dir: Path) -> Path:
    """Where the files are."""
    return data_dir / "directory"


def address_key(address: str) -> bytes:
    """b"" for what no entry can have."""
    key = fold(address).encode("utf-8", "surrogatepass")
    return key if len(key) <= KEY_LIMIT else b""


def group_key(kind: int, address: str) -> bytes:
    return b"%c%s" % (kind, address_key(address))


def word_key(word: str, number: int) -> bytes:
    return b"%s\0%s" % (word.encode(), id_key(number))


def id_of(key: bytes) -> int:
    """The id at the end of a key."""
    number: int = _unpack_id(key, len(key) - 8)[0]
    return number


def resolution(entry: Entry, tag: str) -> Resolution:
    """What a look-up says of an entry."""
    return Resolution(KINDS[entry.kind], entry.address, entry.mailbox, tag, tuple(entry.targets), entry.owner)


def encode_credentials(credentials: Credentials) -> bytes:
    keys = credentials.scram
    scram = (keys.salt, keys.iterations, keys.stored_key, keys.server_key) if keys is not None else None
    return encode(_Secret(credentials.argon2, scram, credentials.version))


def decode_credentials(value: bytes) -> Credentials:
    secret = _decode_secret(value)
    return Credentials(secret.argon2, ScramKeys(*secret.scram) if secret.scram is not None else None, secret.version)


def words_of(person: Person) -> set[str]:
    """The words by which a person is found: of names, title and department, whole addresses, and the words of their
    local parts; a domain alone finds nobody, since it would find everybody."""
    texts = [person.display_name, person.given_name, person.surname, person.title, person.department]
    addresses = [person.address, *person.further]
    texts += [split(address)[0] for address in addresses]
    return {searchable(address)[:WORD_LIMIT] for address in addresses} | set(_words(texts))


def query_words(text: str) -> list[str]:
    """The words of a search; each must begin a word of the person."""
    return [bare for word in searchable(text).split() if (bare := word.strip(".,;:()<>\"'")[:WORD_LIMIT])]


def _words(texts: Iterable[str]) -> Iterable[str]:
    """What stands between spaces, and the parts of it between all that is no letter or digit."""
    for text in texts:
        for word in searchable(text).split():
            yield word[:WORD_LIMIT]
            yield from (part[:WORD_LIMIT] for part in re.split(r"[\W_]+", word) if part)


def searchable(text: str) -> str:
    """Without case and accents; no NUL, which ends a word in its key."""
    if text.isascii():
        return text.lower().replace("\0", " ")
    letters = unicodedata.normalize("NFKD", text).casefold().replace("\0", " ")
    return "".join(c for c in letters if not unicodedata.combining(c) and not "\ud800" <= c <= "\udfff")
