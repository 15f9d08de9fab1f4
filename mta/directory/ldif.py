"""LDIF (RFC 2849) with the names of inetOrgPerson: reading and writing records.

Owns: the syntax (folding, base64, comments) and the table of attributes. Never does: read URLs, apply changes, or know
any DN: names of entries are written for those who read the file elsewhere, and not heeded when it comes back.

Strict: what is no LDIF is an error with its line. Of files from elsewhere, attributes that the directory does not keep
are passed over, of whatever size and wherever their values are, and entries that are no person, alias or list. What
LDAP demands and a person lacks (``cn``, ``sn``) is filled in and named as ``mtaFiller``, so that it is not taken for a
name when the file comes back.
"""

import base64
import binascii
import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Final

from mta.directory.addresses import split
from mta.directory.records import BadRecords, Record

#: Octets of one value, unfolded.
VALUE_LIMIT: Final = 64 << 10
#: Characters of a line that we write.
WIDTH: Final = 76
_NAME = re.compile(r"([A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*)((?:;[A-Za-z0-9-]+)*)\Z", re.ASCII)
_SAFE = re.compile(r"[\x01-\x09\x0b\x0c\x0e-\x1f\x21-\x39\x3b\x3d-\x7f][\x01-\x09\x0b\x0c\x0e-\x7f]*\Z", re.ASCII)
_SCHEME = re.compile(r"\{([A-Za-z0-9-]+)\}")

#: Attribute → field, for texts; the first of several values counts.
_TEXTS: Final = {
    "displayname": "display_name",
    "givenname": "given_name",
    "gn": "given_name",
    "sn": "surname",
    "surname": "surname",
    "title": "title",
    "ou": "department",
    "department": "department",
    "departmentnumber": "department",
    "telephonenumber": "phone",
}
_FURTHER: Final = ("mailalternateaddress", "maillocaladdress", "mozillasecondemail")
_PEOPLE: Final = {"person", "organizationalperson", "inetorgperson", "mozillaabpersonalpha", "mtaperson"}
_ALIASES: Final = {"nismailalias"}
_LISTS: Final = {"mtalist"}

#: One entry: its line, and attribute (lower case) → values with their lines.
_Entry = tuple[int, dict[str, list[tuple[int, str]]]]


class BadLdif(BadRecords):
    """No LDIF that we read; the text has the line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__([f"line {line}: {what}"])


def parse(lines: Iterable[bytes]) -> Iterator[Record]:
    """Records while they are read. Raises BadLdif."""
    for line, entry in _entries(_unfolded(lines)):
        record = _record(line, entry)
        if record is not None:
            yield record


def write(records: Iterable[Record]) -> Iterator[str]:
    """Lines with their ends."""
    yield "version: 1\n"
    for record in records:
        yield "\n"
        for name, value in _attributes(record):
            yield from _line(name, value)


# ---- reading ---------------------------------------------------------------------------------------------------


def _unfolded(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number of the first one, line) of what folding had divided; comments are gone, empty lines stay."""
    number, held, size = 0, [b""], 0
    start = 0
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)  # as editors of Windows leave it
        if line.startswith(b" "):
            if not start:
                raise BadLdif(number, "goes on from a line that is not there")
            held.append(line[1:])
            size += len(line) - 1
        else:
            yield from _whole(start, held)
            start, held, size = number, [line], len(line)
        if size > VALUE_LIMIT * 2:
            held, size = [_shortened(start, held[0])], 0
    yield from _whole(start, held)
    yield number + 1, b""


def _shortened(start: int, line: bytes) -> bytes:
    """What is kept of a very long line, a picture, say: enough to be passed over. Raises BadLdif for any other."""
    name, colon, _ = line.partition(b":")
    if line.startswith(b"#"):
        return b"#"
    if not colon or not _is_passed_over(name.decode("ascii", "replace").lower()):
        raise BadLdif(start, f"a value of more than {VALUE_LIMIT} octets")
    return name + b": "


def _is_passed_over(name: str) -> bool:
    """Whether it is an attribute, and none that the directory keeps."""
    return name not in _KNOWN and _NAME.match(name) is not None


def _whole(start: int, held: list[bytes]) -> Iterator[tuple[int, bytes]]:
    line = b"".join(held)
    if start and not line.startswith(b"#"):
        yield start, line


def _entries(lines: Iterator[tuple[int, bytes]]) -> Iterator[_Entry]:
    first = 0
    entry: dict[str, list[tuple[int, str]]] = {}
    begun = False
    for number, line in lines:
        if not line:
            if entry:
                yield first, entry
            first, entry = 0, {}
            continue
        name, value = _pair(number, line)
        if not begun and name == "version":
            if value != "1":
                raise BadLdif(number, f"version {value!r} of LDIF; version 1 is read")
            begun = True
            continue
        begun = True
        if not entry:
            first = number
            if name != "dn":
                raise BadLdif(number, f'an entry begins with "dn:", not with "{name}:"')
        elif name in ("dn", "version"):
            raise BadLdif(number, f'"{name}:" inside an entry; an empty line ends one')
        entry.setdefault(name, []).append((number, value))


def _pair(number: int, line: bytes) -> tuple[str, str]:
    """(attribute in lower case, options and all; value)"""
    name, colon, rest = line.partition(b":")
    found = _NAME.match(name.decode("ascii", "replace"))
    if not colon or found is None:
        raise BadLdif(number, "not an attribute, a colon and a value")
    passed_over = _is_passed_over(found[0].lower())
    if rest.startswith(b"<") and not passed_over:
        raise BadLdif(number, f"{found[0]}: values from URLs are not read")
    if rest.startswith(b":"):
        try:
            octets = base64.b64decode(rest[1:].strip(b" "), validate=True)
        except binascii.Error:
            raise BadLdif(number, f"{found[0]}: not base 64") from None
    else:
        octets = rest.lstrip(b" ")
    if len(octets) > VALUE_LIMIT and not passed_over:
        raise BadLdif(number, f"{found[0]}: a value of more than {VALUE_LIMIT} octets")
    try:
        return found[0].lower(), "" if passed_over else octets.decode()
    except UnicodeDecodeError:
        raise BadLdif(number, f"{found[0]}: not UTF-8") from None


def _record(line: int, entry: dict[str, list[tuple[int, str]]]) -> Record | None:
    """None for an entry that is none of ours."""
    change = entry.get("changetype", [(line, "add")])[0]
    if change[1].strip().lower() != "add" or "control" in entry:
        raise BadLdif(change[0], f'"changetype: {change[1]}": only entries are read, and "changetype: add"')
    classes = {value.strip().lower() for _, value in entry.get("objectclass", [])}
    if classes & (_ALIASES | _LISTS):
        return _group(line, entry, bool(classes & _LISTS))
    return _person(line, entry, "mtaperson" in classes) if classes & _PEOPLE else None


def _group(line: int, entry: dict[str, list[tuple[int, str]]], is_list: bool) -> Record:
    if len(entry.get("cn", ())) != 1:
        raise BadLdif(line, "an alias or a list needs one cn, its address")
    targets = [value for _, value in entry.get("rfc822mailmember", [])]
    return Record(
        "list" if is_list else "alias",
        entry["cn"][0][1],
        line,
        targets=targets,
        owner=_first(entry, "mtaowner"),
    )


def _person(line: int, entry: dict[str, list[tuple[int, str]]], ours: bool) -> Record:
    mail = [value for _, value in entry.get("mail", [])]
    record = Record("person", mail[0] if mail else "", line)
    record.further = mail[1:] + [value for name in _FURTHER for _, value in entry.get(name, [])]
    fillers = {value.lower() for _, value in entry.get("mtafiller", [])}
    for name, field in _TEXTS.items():
        if not getattr(record, field) and name not in fillers:
            setattr(record, field, _first(entry, name))
    if not record.display_name and not ours:
        record.display_name = _first(entry, "cn")
    record.id = _number(entry, "mtaid")
    record.created = _number(entry, "mtacreated")
    for number, value in entry.get("userpassword", []):
        _password(record, number, value)
    record.scram = _first(entry, "authpassword")
    return record


def _password(record: Record, line: int, value: str) -> None:
    scheme = _SCHEME.match(value)
    if scheme is None:
        record.password = value
    elif scheme[1].upper() == "ARGON2":
        record.argon2 = value[scheme.end() :]
    elif scheme[1].upper() in ("CLEAR", "CLEARTEXT", "PLAIN"):
        record.password = value[scheme.end() :]
    else:
        raise BadLdif(line, f"userPassword: {{{scheme[1]}}} is no scheme that is kept: {{ARGON2}} or plain")


def _first(entry: dict[str, list[tuple[int, str]]], name: str) -> str:
    return entry[name][0][1].strip() if name in entry else ""


def _number(entry: dict[str, list[tuple[int, str]]], name: str) -> int:
    if name not in entry:
        return 0
    line, text = entry[name][0]
    if not re.fullmatch(r"[0-9]{1,20}", text, re.ASCII):
        raise BadLdif(line, f"{name}: not a number")
    return int(text)


_KNOWN: Final = {
    *_TEXTS,
    *_FURTHER,
    *("dn", "version", "changetype", "objectclass", "mail", "cn", "userpassword", "authpassword"),
    *("rfc822mailmember", "mtaowner", "mtafiller", "mtaid", "mtacreated"),
}


# ---- writing ---------------------------------------------------------------------------------------------------


def _attributes(record: Record) -> Iterator[tuple[str, str]]:
    if record.kind != "person":
        yield "dn", f"cn={_escaped(record.address)},ou={'lists' if record.kind == 'list' else 'aliases'}{_base(record)}"
        yield "objectClass", "top"
        yield "objectClass", "mtaList" if record.kind == "list" else "nisMailAlias"
        yield "cn", record.address
        yield from (("rfc822MailMember", target) for target in record.targets)
        if record.owner:
            yield "mtaOwner", record.owner
        return
    yield "dn", f"mail={_escaped(record.address)},ou=people{_base(record)}"
    for name in ("top", "person", "organizationalPerson", "inetOrgPerson", "mtaPerson"):
        yield "objectClass", name
    yield "cn", record.display_name or record.address
    yield "sn", record.surname or record.display_name or record.address
    if not record.surname:
        yield "mtaFiller", "sn"
    yield "mail", record.address
    yield from (("mailAlternateAddress", address) for address in record.further)
    pairs = (
        ("displayName", record.display_name),
        ("givenName", record.given_name),
        ("title", record.title),
        ("ou", record.department),
        ("telephoneNumber", record.phone),
        ("userPassword", f"{{ARGON2}}{record.argon2}" if record.argon2 else ""),
        ("authPassword", record.scram),
        ("mtaId", str(record.id or "")),
        ("mtaCreated", str(record.created or "")),
    )
    yield from ((name, value) for name, value in pairs if value)


def _base(record: Record) -> str:
    return "".join(f",dc={_escaped(label)}" for label in split(record.address)[1].split(".") if label)


def _escaped(value: str) -> str:
    """A value inside a DN (RFC 4514 §2.4)."""
    text = re.sub(r'([\\,+"<>;=])', r"\\\1", value).replace("\0", "\\00")
    text = f"\\{text}" if text[:1] in ("#", " ") else text
    return f"{text[:-1]}\\ " if text.endswith(" ") and len(text) > 1 and text[-2] != "\\" else text


def _line(name: str, value: str) -> Iterator[str]:
    """``name: value``, in base 64 where it must be, folded."""
    if _SAFE.match(value) and not value.endswith(" "):
        text = f"{name}: {value}"
    else:
        text = f"{name}:: {base64.b64encode(value.encode()).decode()}"
    yield text[:WIDTH] + "\n"
    for at in range(WIDTH, len(text), WIDTH - 1):
        yield f" {text[at : at + WIDTH - 1]}\n"
