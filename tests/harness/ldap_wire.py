"""LDAP as octets for tests: requests as ldap3 encodes them, replies taken apart, a session to talk to.

Owns: a directory in memory whose reading fails on demand. ``Talk(session)`` feeds a session whole or octet by octet.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ldap3.operation.search import search_operation
from ldap3.protocol.rfc4511 import LDAPOID, Control, Controls, Criticality, LDAPMessage, MessageID, ProtocolOp
from pyasn1.codec.ber import encoder
from pyasn1.type.univ import OctetString

from mta.directory.protocol import Credentials, DirectoryUnreadable, Person, Resolution
from mta.ldap import messages
from mta.ldap.book import Book
from mta.ldap.search import Limits
from mta.ldap.session import LdapSession, Settings
from tests.harness.clocks import SetClock

BASE = "dc=minasi,dc=example"
PEOPLE = f"ou=people,{BASE}"


class Reply(NamedTuple):
    """``body`` as asn1tools reads it; ``cookie`` of a paged search, None: no control."""

    number: int
    kind: str
    body: Any
    cookie: bytes | None


def search(
    number: int,
    text: str = "(objectClass=*)",
    base: str = BASE,
    scope: str = "SUBTREE",
    attributes: Sequence[str] = (),
    size: int = 0,
    time: int = 0,
    types_only: bool = False,
    controls: Iterable[tuple[str, bool, bytes | None]] = (),
) -> bytes:
    """A search request as ldap3 makes it."""
    operation = search_operation(base, text, scope, "NEVER", list(attributes), size, time, types_only, None, None)
    message = LDAPMessage()
    message["messageID"] = MessageID(number)
    message["protocolOp"] = ProtocolOp().setComponentByName("searchRequest", operation)
    made = Controls()
    for index, (kind, critical, value) in enumerate(controls):
        control = Control()
        control["controlType"] = LDAPOID(kind)
        control["criticality"] = Criticality(critical)
        if value is not None:
            control["controlValue"] = OctetString(value)
        made[index] = control
        message["controls"] = made
    return bytes(encoder.encode(message))


def paged(number: int, page: int, cookie: bytes = b"", **how: Any) -> bytes:
    value = messages.CODEC.encode("Paging", {"size": page, "cookie": cookie})
    return search(number, controls=[(messages.PAGED_RESULTS, True, bytes(value))], **how)


def request(number: int, kind: str, body: Any, **more: Any) -> bytes:
    """Any other request."""
    return bytes(messages.CODEC.encode("Message", {"number": number, "operation": (kind, body), **more}))


def bind(number: int, name: str = "", password: str | bytes = "", version: int = 3) -> bytes:
    secret = password.encode() if isinstance(password, str) else password
    body = {"version": version, "name": name.encode(), "authentication": ("simple", secret)}
    return request(number, "bindRequest", body)


def extended(number: int, name: str) -> bytes:
    return request(number, "extendedRequest", {"name": name.encode()})


def replies(octets: bytes) -> list[Reply]:
    """All of ``octets``, which must be whole messages."""
    found = []
    at = 0
    while at < len(octets):
        length = octets[at + 1]
        head = 2
        if length >= 0x80:
            head += length & 0x7F
            length = int.from_bytes(octets[at + 2 : at + head], "big")
        whole = messages.CODEC.decode("Message", octets[at : at + head + length])
        at += head + length
        cookie = None
        for control in whole.get("controls", ()):
            cookie = messages.CODEC.decode("Paging", control["value"])["cookie"]
        found.append(Reply(whole["number"], *whole["operation"], cookie))
    assert at == len(octets)
    return found


def shown(entry: Reply) -> dict[str, list[str]]:
    """The attributes of an entry."""
    return {each["type"].decode(): [v.decode() for v in each["values"]] for each in entry.body["attributes"]}


class Folk:
    """A ``Directory`` in memory. ``broken``: every verb says so."""

    def __init__(self, people: Iterable[Person] = (), lists: Iterable[Resolution] = ()) -> None:
        self.all = {person.id: person for person in people}
        self.groups = sorted(lists, key=lambda found: found.address)
        self.commits = 1
        self.broken = False
        self.reads = 0

    def put(self, *people: Person) -> None:
        self.all = dict(sorted((self.all | {person.id: person for person in people}).items()))
        self.commits += 1

    def _read(self) -> None:
        self.reads += 1
        if self.broken:
            raise DirectoryUnreadable("nobody knows")

    def resolve(self, address: str) -> Resolution | None:
        person = self.find(address)
        return Resolution("mailbox", person.address, person.id) if person is not None else None

    def person(self, number: int) -> Person | None:
        self._read()
        return self.all.get(number)

    def find(self, address: str) -> Person | None:
        self._read()
        return next((person for person in self.all.values() if address in (person.address, *person.further)), None)

    def search(self, text: str, limit: int) -> list[Person]:
        self._read()
        return [person for person in self.all.values() if text in person.display_name][:limit]

    def people(self, after: int, limit: int) -> list[Person]:
        self._read()
        return [person for number, person in self.all.items() if number > after][:limit]

    def lists(self, after: str, limit: int) -> list[Resolution]:
        self._read()
        return [found for found in self.groups if found.address > after][:limit]

    def version(self) -> int:
        self._read()
        return self.commits

    def credentials(self, number: int) -> Credentials | None:
        self._read()
        return None


def folk(count: int = 3) -> Folk:
    """``count`` people, the first three with names, and a list."""
    named = [
        Person(
            id=2,
            address="ada.lovelace@minasi.example",
            further=["ada@minasi.example"],
            given_name="Ada",
            surname="Lovelace",
            title="Countess",
            department="Engines",
            phone="+44 20 7946-0000",
            created=1_000_000_000_000,
        ),
        Person(id=3, address="anders@minasi.example", display_name="Anders  Ångström", department="Optics"),
        Person(id=5, address="o,hara+x@arlington.example"),
    ]
    others = [Person(id=10 + n, address=f"number{n}@minasi.example", surname=f"Number {n}") for n in range(count - 3)]
    return Folk([*named[:count], *others], [Resolution("list", "staff@minasi.example")])


SETTINGS = Settings(anonymous=True, plaintext=False, limits=Limits(1000, 10.0))


class Talk:
    """A session and what it says. ``octets``: feed that many at a time, 0: all at once."""

    def __init__(self, directory: Folk | None = None, *, tls: Any = "none", octets: int = 0, **settings: Any) -> None:
        self.clock = SetClock()
        self.directory = directory or folk()
        self.searches = 0
        book = Book(self.directory, ("minasi.example", "arlington.example"))
        self.session = LdapSession(book, SETTINGS._replace(**settings), self.clock, tls, self._searched)
        self._octets = octets

    def _searched(self) -> None:
        self.searches += 1

    def feed(self, data: bytes) -> None:
        step = self._octets or max(1, len(data))
        for at in range(0, len(data), step):
            self.session.feed(data[at : at + step])
            if self._octets:
                self.session.go_on()

    def say(self, *requests: bytes) -> list[Reply]:
        """Feeds them together and gives what comes until there is no more to do."""
        self.feed(b"".join(requests))
        while self.session.go_on():
            pass
        return replies(self.session.take_output())
