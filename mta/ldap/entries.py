"""Entries: what the directory holds, as attributes.

Owns: which attribute shows what of a person, a list, a domain; which attributes of an entry a request sees.
Never does: search. A name leads with the mail address: it is unique in the directory, and short for a human.
"""

import datetime
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from mta import __version__
from mta.directory.addresses import fold
from mta.directory.protocol import Person, Resolution
from mta.ldap.messages import MANAGE_DSA_IT, PAGED_RESULTS, START_TLS, WHO_AM_I
from mta.ldap.names import escape
from mta.ldap.schema import attribute, attribute_types, fold_as, object_classes

SUBSCHEMA: Final = "cn=Subschema"
PEOPLE: Final = "ou=people"
LISTS: Final = "ou=lists"
#: All operational attributes with "+" (RFC 3673), and filters that are true or false of everything (RFC 4526).
_FEATURES: Final = ("1.3.6.1.4.1.4203.1.5.1", "1.3.6.1.4.1.4203.1.5.3")

Values = tuple[str, ...]
#: Folded values that many entries share are kept once.
_shared: dict[Values, Values] = {}
_PERSON: Final = ("top", "person", "organizationalPerson", "inetOrgPerson")


class Entry:
    """``values``: by attribute, in the order in which they are shown. ``order``: its place among its siblings, which
    survives a change of the directory. ``person``: whom it shows, None: nobody."""

    __slots__ = ("folded", "name", "order", "person", "values")

    def __init__(
        self, name: str, values: dict[str, Values], order: int | str = 0, person: Person | None = None
    ) -> None:
        self.name = name
        self.values = values
        self.order = order
        self.person = person
        self.folded = {sys.intern(kind): _fold_values(kind, held) for kind, held in values.items()}


def _fold_values(kind: str, values: Values) -> Values:
    known = attribute(kind)
    folded = tuple(fold_as(known, value) for value in values) if known is not None else ()
    return values if folded == values else folded


def show(entry: Entry, wanted: Sequence[str] = (), *, types_only: bool = False) -> list[tuple[str, Values]]:
    """What a request for the attributes ``wanted`` sees of the entry (RFC 4511 §4.5.1.8): nothing or ``*``: those of
    users, ``+``: operational ones, ``1.1``: none. Unknown ones are passed over."""
    everything = not wanted or "*" in wanted
    operational = "+" in wanted
    named = {found.name for found in map(attribute, wanted) if found is not None} if wanted else set()
    chosen = []
    for kind, values in entry.values.items():
        known = attribute(kind)
        if kind in named or (everything if known is None or known.shown else operational):
            chosen.append((kind, () if types_only else values))
    return chosen


def person_entry(person: Person, base: str) -> Entry:
    """inetOrgPerson. Its schema wants cn and sn, so a person without a name gets them from the address."""
    address = person.address
    user, _, domain = address.rpartition("@")
    name = person.display_name or " ".join(filter(None, (person.given_name, person.surname))) or user
    values: dict[str, Values] = {
        "objectClass": _PERSON,
        "cn": (name,),
        "sn": (person.surname or name.split()[-1],),
        "givenName": (person.given_name,),
        "displayName": (name,),
        "mail": tuple(dict.fromkeys((address, *person.further))),
        "uid": (user,),
        "title": (person.title,),
        "ou": (person.department,),
        "departmentNumber": (person.department,),
        "telephoneNumber": (person.phone,),
        "o": (domain,),
        "structuralObjectClass": ("inetOrgPerson",),
        "subschemaSubentry": (SUBSCHEMA,),
        "createTimestamp": (_moment(person.created),),
        "modifyTimestamp": (_moment(person.changed),),
    }
    held = {kind: _once(texts) for kind, texts in values.items() if texts[0]}
    return Entry(f"mail={escape(address)},{PEOPLE},{base}", held, person.id, person)


def list_entry(found: Resolution, base: str) -> Entry:
    """A list to write to. Who is on it is not shown: SMTP does not tell either."""
    user = found.address.rpartition("@")[0]
    values: dict[str, Values] = {
        "objectClass": ("top", "groupOfNames", "extensibleObject"),
        "cn": (user,),
        "displayName": (user,),
        "mail": (found.address,),
        "structuralObjectClass": ("groupOfNames",),
        "subschemaSubentry": (SUBSCHEMA,),
    }
    held = {kind: _once(texts) for kind, texts in values.items()}
    return Entry(f"mail={escape(found.address)},{LISTS},{base}", held, fold(found.address))


def domain_entry(domain: str, order: int) -> Entry:
    """The naming context of a domain."""
    values = {
        "objectClass": ("top", "domain"),
        "dc": (domain.split(".")[0],),
        "o": (domain,),
        "structuralObjectClass": ("domain",),
        "subschemaSubentry": (SUBSCHEMA,),
    }
    return Entry(base_of(domain), values, order)


def unit_entry(unit: str, base: str, order: int) -> Entry:
    """``ou=people`` or ``ou=lists`` below a base."""
    values = {
        "objectClass": ("top", "organizationalUnit"),
        "ou": (unit.partition("=")[2],),
        "structuralObjectClass": ("organizationalUnit",),
        "subschemaSubentry": (SUBSCHEMA,),
    }
    return Entry(f"{unit},{base}", values, order)


def root_entry(bases: Iterable[str], *, tls_offered: bool) -> Entry:
    """The rootDSE."""
    return Entry(
        "",
        {
            "objectClass": ("top",),
            "namingContexts": tuple(bases),
            "subschemaSubentry": (SUBSCHEMA,),
            "supportedLDAPVersion": ("3",),
            "supportedControl": (PAGED_RESULTS, MANAGE_DSA_IT),
            "supportedExtension": (START_TLS, WHO_AM_I) if tls_offered else (WHO_AM_I,),
            "supportedFeatures": _FEATURES,
            "vendorName": ("Hermes",),
            "vendorVersion": (__version__,),
        },
    )


def subschema_entry() -> Entry:
    return Entry(
        SUBSCHEMA,
        {
            "objectClass": ("top", "subschema", "extensibleObject"),
            "cn": ("Subschema",),
            "objectClasses": tuple(object_classes()),
            "attributeTypes": tuple(attribute_types()),
        },
    )


def base_of(domain: str) -> str:
    """``dc=minasi,dc=example``."""
    return ",".join(f"dc={escape(label)}" for label in domain.split("."))


def _once(values: Values) -> Values:
    """The same object for the same values where many entries have them: classes, departments, organizations."""
    if len(_shared) > 10_000:
        _shared.clear()
    return _shared.setdefault(values, values)


def _moment(ms: int) -> str:
    """Generalized time; "" when it is not known."""
    if ms <= 0:
        return ""
    return datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC).strftime("%Y%m%d%H%M%SZ")
