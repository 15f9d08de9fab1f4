"""What everybody may ask of the directory, and the values that come back. The reading side.

Owns: the values and the ``Directory`` protocol. Never does: IO. Look-ups are synchronous and take microseconds; they
see every change that was committed before they began, from any process.

An address is ``local-part@domain``, looked up without regard to case (``addresses.fold`` says why and how).
"""

from typing import Literal, NamedTuple, Protocol

import msgspec

from mta.errors import StorageError

Kind = Literal["mailbox", "alias", "list"]


class DirectoryUnreadable(StorageError):
    """The environment cannot be opened or read; who exists is not known. Answer 451 4.3.0, never 550."""


class Resolution(NamedTuple):
    """What an address leads to.

    ``address``: the entry's own, as the directory has it; for a further address the person's own. ``mailbox``: the
    person's id, 0 for other kinds. ``tag``: what stood behind the subaddress separator, folded. ``targets``: of an
    alias or a list, as written there; they may lead on. ``owner``: of a list, who hears of failures; "" = the sender
    does.
    """

    kind: Kind
    address: str
    mailbox: int = 0
    tag: str = ""
    targets: tuple[str, ...] = ()
    owner: str = ""


class Person(msgspec.Struct, kw_only=True):
    """One person. ``id``: 64 bits, never used again; it names the mailbox. Times are milliseconds since 1970 UTC."""

    id: int
    address: str
    further: list[str] = []
    display_name: str = ""
    given_name: str = ""
    surname: str = ""
    title: str = ""
    department: str = ""
    phone: str = ""
    created: int = 0
    changed: int = 0


class ScramKeys(msgspec.Struct):
    """What SCRAM-SHA-256 needs of a password (RFC 5803), and no more: salt, iterations, StoredKey, ServerKey."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class Credentials(msgspec.Struct):
    """``argon2``: the encoded argon2id hash, "": this person cannot log in. ``version`` grows with each change."""

    argon2: str = ""
    scram: ScramKeys | None = None
    version: int = 0


class Directory(Protocol):
    """Every verb raises DirectoryUnreadable when the environment is not there or cannot be read."""

    def resolve(self, address: str) -> Resolution | None:
        """Who gets mail for ``address``: an entry, a subaddress of one, or a catch-all. None: nobody."""

    def person(self, number: int) -> Person | None:
        """By id."""

    def find(self, address: str) -> Person | None:
        """The person whom ``address`` names exactly, by the own or a further address; no alias, no tag."""

    def search(self, text: str, limit: int) -> list[Person]:
        """People in whose names, addresses or departments every word of ``text`` begins a word; in order of name."""

    def people(self, after: int, limit: int) -> list[Person]:
        """In order of id, from the first one above ``after``."""

    def lists(self, after: str, limit: int) -> list[Resolution]:
        """In order of address, from the first one behind ``after``; "": from the beginning."""

    def version(self) -> int:
        """Grows with every commit: as long as it stays the same, so does all the rest."""

    def credentials(self, number: int) -> Credentials | None:
        """Of the person with this id."""

    def key(self) -> bytes:
        """32 random octets of this directory, for what must look the same in every process and tell nobody
        anything."""
