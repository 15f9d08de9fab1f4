"""One entry as a file of entries has it, and how a whole file goes in.

Owns: the ``Record`` that LDIF and CSV are read into and written from, and the import: all of it or nothing. Never does:
the form of any file (``ldif``, ``table``).
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from mta.clock import LAST_MOMENT
from mta.directory import tables
from mta.directory.addresses import generate
from mta.directory.changes import FIELDS, Changes
from mta.directory.passwords import SCRAM_ITERATIONS, check_hash
from mta.directory.protocol import Credentials, Person, ScramKeys
from mta.directory.reading import Reading
from mta.errors import DataError

#: Entries of one import.
IMPORT_LIMIT: Final = 200_000
#: Findings that are told; the rest is counted.
FINDINGS_LIMIT: Final = 20
_PAGE: Final = 500


class Record(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """``line``: where it begins in its file. ``id``: of a person, 0: none given. ``created``: milliseconds, 0: now.
    ``targets``: of an alias, or members of a list. ``argon2`` and ``scram`` are texts (``scram_text``); ``password``
    is plain, from a file that was written by hand."""

    kind: Literal["person", "alias", "list"] = "person"
    address: str = ""
    line: int = 0
    id: int = 0
    further: list[str] = []
    display_name: str = ""
    given_name: str = ""
    surname: str = ""
    title: str = ""
    department: str = ""
    phone: str = ""
    targets: list[str] = []
    owner: str = ""
    created: int = 0
    argon2: str = ""
    scram: str = ""
    password: str = ""


class BadRecords(DataError):
    """The file is not taken. ``findings``: one line each, with the line of the file."""

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = list(findings[:FINDINGS_LIMIT])
        if len(findings) > FINDINGS_LIMIT:
            self.findings.append(f"and {len(findings) - FINDINGS_LIMIT} more")
        super().__init__("\n".join(self.findings))


def scram_text(keys: ScramKeys) -> str:
    """``SCRAM-SHA-256$iterations:salt$stored key:server key`` (RFC 5803)."""
    salt, stored, server = (base64.b64encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    return f"SCRAM-SHA-256${keys.iterations}:{salt}${stored}:{server}"


def scram_keys_of(text: str) -> ScramKeys:
    """What ``scram_text`` wrote. Raises DataError."""
    try:
        scheme, first, second = text.split("$")
        iterations, salt = first.split(":")
        keys = ScramKeys(_octets(salt), int(iterations), *map(_octets, second.split(":")))
    except (ValueError, TypeError, binascii.Error):
        raise DataError("not SCRAM keys as RFC 5803 writes them") from None
    lengths = {len(keys.stored_key), len(keys.server_key)}
    if scheme != "SCRAM-SHA-256" or lengths != {32} or not 4096 <= keys.iterations <= 100 * SCRAM_ITERATIONS:
        raise DataError("not keys of SCRAM-SHA-256 with 4096 iterations or more")
    return keys


def _octets(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def records(reading: Reading, *, secrets: bool) -> Iterator[Record]:
    """Everything: people in order of id, then aliases, then lists. ``secrets``: with hashes and keys."""
    after = 0
    while people := reading.people(after, _PAGE):
        for person in people:
            yield _of_person(person, reading.credentials(person.id) if secrets else None)
        after = people[-1].id
    for kind in (tables.ALIAS, tables.LIST):
        behind = ""
        while groups := reading.groups(kind, behind, _PAGE):
            for group in groups:
                named: Literal["alias", "list"] = "alias" if kind == tables.ALIAS else "list"
                yield Record(named, group.address, targets=list(group.targets), owner=group.owner)
            behind = groups[-1].address


def _of_person(person: Person, credentials: Credentials | None) -> Record:
    record = Record("person", person.address, id=person.id, further=person.further, created=person.created)
    for name in FIELDS:
        setattr(record, name, getattr(person, name))
    if credentials is not None:
        record.argon2 = credentials.argon2
        record.scram = scram_text(credentials.scram) if credentials.scram is not None else ""
    return record


def take_in(
    changes: Changes,
    given: Iterable[Record],
    *,
    keep_ids: bool,
    template: str,
    domain: str,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, int]:
    """Puts all of them in, and tells how many of each kind; people without an address get one from ``template``.
    Raises BadRecords with everything that is wrong: then the transaction must not be committed.

    ``keep_ids``: people get the ids that they have in the file, which must be new here. Ids only grow, so people go in
    in order of theirs, whatever the order of the file.
    """
    order = {"person": 0, "alias": 1, "list": 2}
    findings: list[str] = []
    counted = {"person": 0, "alias": 0, "list": 0}
    for done, record in enumerate(sorted(given, key=lambda r: (order[r.kind], r.id if keep_ids else 0))):
        try:
            _put(changes, record, keep_ids, template, domain)
            counted[record.kind] += 1
        except DataError as error:
            findings.append(f"line {record.line}: {error}")
        progress(done + 1)
    if findings:
        raise BadRecords(findings)
    return {"people": counted["person"], "aliases": counted["alias"], "lists": counted["list"]}


def _put(changes: Changes, record: Record, keep_ids: bool, template: str, domain: str) -> None:
    if record.kind == "alias":
        changes.add_alias(record.address, record.targets)
    elif record.kind == "list":
        changes.add_list(record.address, record.targets, record.owner)
    else:
        fields = {name: getattr(record, name) for name in FIELDS}
        address = record.address or generate(template, record.given_name, record.surname, domain, changes.taken)
        if not 0 <= record.created <= LAST_MOMENT * 1000:
            raise DataError(f"created: {record.created} is not a time in milliseconds")
        credentials = credentials_of(record)
        number = record.id if keep_ids else 0
        person = changes.add_person(address, record.further, number, record.created, **fields)
        if credentials is not None:
            changes.set_credentials(person.id, credentials)


def credentials_of(record: Record) -> Credentials | None:
    """Hashes and keys of a record, checked; None when it has none. A plain password must have been hashed before."""
    if record.password:
        raise DataError("a plain password was not hashed")
    if not record.argon2 and not record.scram:
        return None
    argon2 = check_hash(record.argon2) if record.argon2 else ""
    return Credentials(argon2, scram_keys_of(record.scram) if record.scram else None)
