"""Entries: what the directory holds, as attributes.

Owns: which attribute shows what of a person, a list, a domain; which attributes of an entry a request sees.
Never does: search. A name leads with the mail address: it is unique in the directory, and short for a human.
"""

import datetime
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from mta import __version__
from mta.clock import LAST_MOMENT
from mta.directory.addresses import fold as fold_address
from mta.directory.protocol import Person, Resolution
from mta.ldap.messages import MANAGE_DSA_IT, PAGED_RESULTS, START_TLS, WHO_AM_I
from mta.ldap.names import escape
from mta.ldap.schema import ATTRIBUTES, attribute, attribute_types, fold_as, object_classes

SUBSCHEMA: Final = "cn=Subschema"
PEOPLE: Final = "ou=people"
LISTS: Final = "ou=lists"
#: All operational attributes with "+" (RFC 3673), and filters that are true or false of everything (RFC 4526).
_FEATURES: Final = ("1.3.6.1.4.1.4203.1.5.1", "1.3.6.1.4.1.4203.1.5.3")
_PERSON: Final = ("top", "person", "organizationalPerson", "inetOrgPerson")
_KINDS: Final = {known.name: known for known in ATTRIBUTES}
#: Attributes whose values are hardly ever those of somebody else.
_PERSONAL: Final = frozenset(("cn", "sn", "givenName", "displayName", "mail", "uid", "telephoneNumber"))

Values = tuple[str, ...]


class Entry(Protocol):
    """``values``: by attribute, in the order in which they are shown; ``folded``: for comparing. ``order``: its place
    among its siblings, which survives a change of the directory."""

    @property
    def name(self) -> str: ...

    @property
    def values(self) -> dict[str, Values]: ...

    @property
    def folded(self) -> dict[str, Values]: ...

    @property
    def order(self) -> int | str: ...


class FixedEntry:
    """One of the few that are no person."""

    __slots__ = ("folded", "name", "order", "values")

    def __init__(self, name: str, values: dict[str, Values], order: int | str = 0) -> None:
        self.name = name
        self.values = values
        self.order = order
        self.folded = {kind: _fold_values(kind, held) for kind, held in values.items()}


class PersonEntry:
    """One of many. What is shown is made when it is shown: of those that are compared few are found."""

    __slots__ = ("base", "folded", "person")

    def __init__(self, person: Person, base: str) -> None:
        self.person = person
        self.base = base
        self.folded = {kind: _fold_values(kind, held) for kind, held in self.values.items()}

    @property
    def order(self) -> int:
        return self.person.id

    @property
    def name(self) -> str:
        return f"mail={escape(self.person.address)},{PEOPLE},{self.base}"

    @property
    def values(self) -> dict[str, Values]:
        """inetOrgPerson. Its schema wants cn and sn, so who has no name gets them from the address."""
        person = self.person
        user, _, domain = person.address.rpartition("@")
        name = (person.display_name or f"{person.given_name} {person.surname}").strip() or user
        values: dict[str, Values] = {
            "objectClass": _PERSON,
            "cn": (name,),
            "sn": (person.surname or name.rpartition(" ")[2],),
            "givenName": (person.given_name,),
            "displayName": (name,),
            "mail": (person.address, *person.further),
            "uid": (user,),
            "title": (person.title,),
            "ou": (person.department,),
            "departmentNumber": (person.department,),
            "telephoneNumber": (person.phone,),
            "o": (domain,),
            "structuralObjectClass": _PERSON[-1:],
            "subschemaSubentry": (SUBSCHEMA,),
            "createTimestamp": _moment(person.created // 1000),
            "modifyTimestamp": _moment(person.changed // 1000),
        }
        return {kind: held for kind, held in values.items() if held[0]}


def _fold_values(kind: str, values: Values) -> Values:
    """Of what many entries have alike, such as classes and departments, they share one."""
    if kind in _PERSONAL:
        known = _KINDS[kind]
        return tuple([fold_as(known, value) for value in values])
    return _fold_common(kind, values)


@lru_cache(10_000)
def _fold_common(kind: str, values: Values) -> Values:
    known = _KINDS[kind]
    return tuple(fold_as(known, value) for value in values)


@lru_cache(10_000)
def _moment(seconds: int) -> Values:
    """Generalized time; "" when it is not known."""
    if seconds <= 0:
        return ("",)
    moment = min(seconds, LAST_MOMENT)  # one wrong time must not take the book away
    return (datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y%m%d%H%M%SZ"),)


class Selection(NamedTuple):
    """What a request sees of an entry: names of attributes, all that users have, all operational ones."""

    named: frozenset[str]
    everything: bool
    operational: bool


def select(wanted: Sequence[str]) -> Selection:
    """As RFC 4511 §4.5.1.8 reads a list: nothing or ``*``: those of users, ``+``: operational ones, ``1.1``: none.
    Unknown ones are passed over."""
    named = frozenset(found.name for found in map(attribute, wanted) if found is not None)
    return Selection(named, not wanted or "*" in wanted, "+" in wanted)


def show(entry: Entry, selection: Selection, *, types_only: bool = False) -> list[tuple[str, Values]]:
    """The attributes that are selected, in their order."""
    chosen = []
    for kind, values in entry.values.items():
        known = _KINDS[kind]
        if (
            kind in selection.named
            or (known.shown and selection.everything)
            or (known.operational and selection.operational)
        ):
            chosen.append((kind, () if types_only else values))
    return chosen


def list_entry(found: Resolution, base: str) -> FixedEntry:
    """A list to write to. Who is on it is not shown: SMTP does not tell either."""
    user = found.address.rpartition("@")[0]
    values = {
        "objectClass": ("top", "groupOfNames", "extensibleObject"),
        "cn": (user,),
        "displayName": (user,),
        "mail": (found.address,),
        "structuralObjectClass": ("groupOfNames",),
        "subschemaSubentry": (SUBSCHEMA,),
    }
    return FixedEntry(f"mail={escape(found.address)},{LISTS},{base}", values, fold_address(found.address))


def domain_entry(domain: str, order: int) -> FixedEntry:
    """The naming context of a domain."""
    values = {
        "objectClass": ("top", "domain"),
        "dc": (domain.split(".")[0],),
        "o": (domain,),
        "structuralObjectClass": ("domain",),
        "subschemaSubentry": (SUBSCHEMA,),
    }
    return FixedEntry(base_of(domain), values, order)


def unit_entry(unit: str, base: str, order: int) -> FixedEntry:
    """``ou=people`` or ``ou=lists`` below a base."""
    values = {
        "objectClass": ("top", "organizationalUnit"),
        "ou": (unit.partition("=")[2],),
        "structuralObjectClass": ("organizationalUnit",),
        "subschemaSubentry": (SUBSCHEMA,),
    }
    return FixedEntry(f"{unit},{base}", values, order)


def root_entry(bases: Iterable[str], *, tls_offered: bool) -> FixedEntry:
    """The rootDSE."""
    return FixedEntry(
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


def subschema_entry() -> FixedEntry:
    return FixedEntry(
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
