"""The attributes and classes that the address book knows, and when two of their values are the same.

Owns: names, OIDs and matching of attributes; what cn=Subschema says. Never does: look at an entry.
Values are compared folded: case, width and runs of spaces make no difference (RFC 4518 in spirit), in telephone
numbers neither spaces nor hyphens.
"""

import unicodedata
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple


class Attribute(NamedTuple):
    """``kind``: how values are written and compared. ``shown``: it comes when all attributes of users are asked for
    (``*``), ``operational``: when all operational ones are (``+``)."""

    name: str
    oid: str
    aliases: tuple[str, ...] = ()
    kind: Literal["text", "ascii", "phone", "oid", "name", "time", "number", "schema"] = "text"
    single: bool = False
    shown: bool = True
    operational: bool = False


class ObjectClass(NamedTuple):
    """``line``: kind, what an entry must and may have, as RFC 4512 writes it."""

    name: str
    oid: str
    above: str
    line: str


ATTRIBUTES: Final = (
    Attribute("objectClass", "2.5.4.0", kind="oid"),
    Attribute("cn", "2.5.4.3", ("commonName",)),
    Attribute("sn", "2.5.4.4", ("surname",)),
    Attribute("givenName", "2.5.4.42", ("gn",)),
    Attribute("displayName", "2.16.840.1.113730.3.1.241", single=True),
    Attribute("mail", "0.9.2342.19200300.100.1.3", ("rfc822Mailbox",), "ascii"),
    Attribute("uid", "0.9.2342.19200300.100.1.1", ("userid",)),
    Attribute("title", "2.5.4.12"),
    Attribute("ou", "2.5.4.11", ("organizationalUnitName",)),
    Attribute("departmentNumber", "2.16.840.1.113730.3.1.2"),
    Attribute("telephoneNumber", "2.5.4.20", kind="phone"),
    Attribute("o", "2.5.4.10", ("organizationName",)),
    Attribute("dc", "0.9.2342.19200300.100.1.25", ("domainComponent",), "ascii", single=True),
    Attribute("member", "2.5.4.31", kind="name"),
    Attribute("createTimestamp", "2.5.18.1", kind="time", single=True, shown=False, operational=True),
    Attribute("modifyTimestamp", "2.5.18.2", kind="time", single=True, shown=False, operational=True),
    Attribute("structuralObjectClass", "2.5.21.9", kind="oid", single=True, shown=False, operational=True),
    Attribute("subschemaSubentry", "2.5.18.10", kind="name", single=True, shown=False, operational=True),
    # Of the rootDSE and the subschema. They are operational, and shown all the same where they are the whole entry.
    Attribute("namingContexts", "1.3.6.1.4.1.1466.101.120.5", kind="name", operational=True),
    Attribute("supportedControl", "1.3.6.1.4.1.1466.101.120.13", kind="oid", operational=True),
    Attribute("supportedExtension", "1.3.6.1.4.1.1466.101.120.7", kind="oid", operational=True),
    Attribute("supportedFeatures", "1.3.6.1.4.1.4203.1.3.5", kind="oid", operational=True),
    Attribute("supportedLDAPVersion", "1.3.6.1.4.1.1466.101.120.15", kind="number", operational=True),
    Attribute("vendorName", "1.3.6.1.1.4", single=True, operational=True),
    Attribute("vendorVersion", "1.3.6.1.1.5", single=True, operational=True),
    Attribute("attributeTypes", "2.5.21.5", kind="schema", operational=True),
    Attribute("objectClasses", "2.5.21.6", kind="schema", operational=True),
)

_NAMED: Final = {
    word.lower(): attribute for attribute in ATTRIBUTES for word in (attribute.name, attribute.oid, *attribute.aliases)
}

CLASSES: Final = (
    ObjectClass("top", "2.5.6.0", "", "ABSTRACT MUST objectClass"),
    ObjectClass("person", "2.5.6.6", "top", "STRUCTURAL MUST ( sn $ cn ) MAY telephoneNumber"),
    ObjectClass("organizationalPerson", "2.5.6.7", "person", "STRUCTURAL MAY ( title $ ou )"),
    ObjectClass(
        "inetOrgPerson",
        "2.16.840.1.113730.3.2.2",
        "organizationalPerson",
        "STRUCTURAL MAY ( departmentNumber $ displayName $ givenName $ mail $ o $ uid )",
    ),
    ObjectClass("organizationalUnit", "2.5.6.5", "top", "STRUCTURAL MUST ou"),
    ObjectClass("domain", "0.9.2342.19200300.100.4.13", "top", "STRUCTURAL MUST dc MAY o"),
    ObjectClass("groupOfNames", "2.5.6.9", "top", "STRUCTURAL MUST ( member $ cn ) MAY ( ou $ o )"),
    ObjectClass("extensibleObject", "1.3.6.1.4.1.1466.101.120.111", "top", "AUXILIARY"),
    ObjectClass("subschema", "2.5.20.1", "", "AUXILIARY MAY ( objectClasses $ attributeTypes )"),
)

_CLASS_OF: Final = {found.oid: found.name.lower() for found in CLASSES}

#: kind → equality rule, substrings rule, syntax.
_RULES: Final = {
    "text": ("caseIgnoreMatch", "caseIgnoreSubstringsMatch", "1.3.6.1.4.1.1466.115.121.1.15"),
    "ascii": ("caseIgnoreIA5Match", "caseIgnoreIA5SubstringsMatch", "1.3.6.1.4.1.1466.115.121.1.26"),
    "phone": ("telephoneNumberMatch", "telephoneNumberSubstringsMatch", "1.3.6.1.4.1.1466.115.121.1.50"),
    "oid": ("objectIdentifierMatch", "", "1.3.6.1.4.1.1466.115.121.1.38"),
    "name": ("distinguishedNameMatch", "", "1.3.6.1.4.1.1466.115.121.1.12"),
    "time": ("generalizedTimeMatch", "", "1.3.6.1.4.1.1466.115.121.1.24"),
    "number": ("integerMatch", "", "1.3.6.1.4.1.1466.115.121.1.27"),
    "schema": ("objectIdentifierFirstComponentMatch", "", "1.3.6.1.4.1.1466.115.121.1.3"),
}

#: Rules that an extensible filter may name → the kinds of attributes that they are for.
MATCHING_RULES: Final = {
    name: kinds
    for names, kinds in (
        (("caseignorematch", "2.5.13.2"), ("text",)),
        (("caseignoreia5match", "1.3.6.1.4.1.1466.109.114.2"), ("ascii",)),
        (("telephonenumbermatch", "2.5.13.20"), ("phone",)),
        (("objectidentifiermatch", "2.5.13.0"), ("oid",)),
    )
    for name in names
}


def attribute(description: str) -> Attribute | None:
    """By name, alias or OID. None: unknown, as is every description with options, of which we have none."""
    return _NAMED.get(description.lower())


def fold(text: str) -> str:
    """``text`` for comparing. Equal results: the same value."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def fold_plainly(text: str) -> str:
    """For the approximate match: without accents besides."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return fold(plain)


def fold_as(kind: Attribute, text: str) -> str:
    """``text`` as a value of ``kind``, for comparing."""
    folded = fold(text)
    if kind.kind == "phone":
        return folded.replace(" ", "").replace("-", "")
    if kind.kind == "oid":
        return _CLASS_OF.get(folded, folded)
    return folded


def fold_piece(kind: Attribute, text: str) -> str:
    """A piece of a substrings filter: as ``fold_as``, but a space at its edge stays one, being within the value."""
    folded = fold_as(kind, text)
    if kind.kind == "phone" or not text:
        return folded
    before = " " if text[0].isspace() else ""
    after = " " if text[-1].isspace() and folded else ""
    return before + folded + after


def has_pieces(kind: Attribute) -> bool:
    """Whether substrings of its values can be asked for."""
    return bool(_RULES[kind.kind][1])


def attribute_types() -> Iterator[str]:
    """As cn=Subschema has them."""
    for kind in ATTRIBUTES:
        equality, substrings, syntax = _RULES[kind.kind]
        names = " ".join(f"'{name}'" for name in (kind.name, *kind.aliases))
        parts = [kind.oid, "NAME", f"( {names} )" if kind.aliases else names, "EQUALITY", equality]
        parts += ["SUBSTR", substrings] if substrings else []
        parts += ["SYNTAX", syntax]
        parts += ["SINGLE-VALUE"] if kind.single else []
        parts += ["NO-USER-MODIFICATION", "USAGE", "directoryOperation"] if kind.operational else []
        yield f"( {' '.join(parts)} )"


def object_classes() -> Iterator[str]:
    """As cn=Subschema has them."""
    for found in CLASSES:
        above = f"SUP {found.above} " if found.above else ""
        yield f"( {found.oid} NAME '{found.name}' {above}{found.line} )"
