"""What operators may ask of the directory and do to it, by name: the same for a running server and for its files.

Owns: the verbs, their arguments, the rows of their answers. Never does: decide where they run: in the process that
writes (``services/directory.py``), or on the files of a stopped server (``cli/directory/source.py``).

A verb that reads gives rows from a ``Reading``; one that writes gives a job for ``DirectoryWriter``. Arguments are
checked when the job is made, passwords are computed then as well (some 50 ms), and changes are checked in it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from mta.directory.addresses import generate, split
from mta.directory.changes import FIELDS, Changes
from mta.directory.expand import expand
from mta.directory.passwords import make_credentials
from mta.directory.protocol import Credentials, Person, Resolution
from mta.directory.reading import Reading
from mta.directory.records import Record, credentials_of, records
from mta.directory.tables import ALIAS, KINDS, LIST, Entry, resolution
from mta.errors import DataError, UsageError

Row = dict[str, Any]
Args = Mapping[str, Any]
Job = Callable[[Changes], list[Row]]

#: People that are found by one search, when nothing else is asked for.
SEARCH_DEFAULT: Final = 100
_PAGE: Final = 500


class Settings(msgspec.Struct, frozen=True):
    """What the configuration says. ``domains``: the local ones."""

    template: str
    domains: tuple[str, ...]

    @property
    def domain(self) -> str:
        """Where people get their address; "": there is no local domain."""
        return self.domains[0] if self.domains else ""


class _Arguments(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of all arguments. None: not given."""


class _Nothing(_Arguments):
    pass


class _Who(_Arguments):
    """``user``: an address of the person, or the id."""

    user: str


class _Which(_Arguments):
    address: str


class _Listing(_Arguments):
    limit: int = 0


class _Search(_Arguments):
    text: str
    limit: int = SEARCH_DEFAULT


class _Export(_Arguments):
    secrets: bool = False


class _Fields(_Arguments):
    display_name: str | None = None
    given_name: str | None = None
    surname: str | None = None
    title: str | None = None
    department: str | None = None
    phone: str | None = None
    further: list[str] | None = None


class _Secret(_Arguments):
    """A plain password, or what ``Record`` keeps of one."""

    password: str = ""
    argon2: str = ""
    scram: str = ""


class _UserAdd(_Fields):
    """Of the password what ``_Secret`` has."""

    address: str = ""
    password: str = ""
    argon2: str = ""
    scram: str = ""


class _UserSet(_Fields, kw_only=True):
    user: str
    address: str | None = None


class _Passwd(_Secret, kw_only=True):
    user: str


class _Alias(_Arguments):
    alias: str
    targets: list[str]


class _List(_Arguments):
    address: str
    members: list[str] = []
    owner: str = ""


class _Members(_Arguments):
    address: str
    members: list[str]


class _Owner(_Arguments):
    address: str
    owner: str


# ---- reading ---------------------------------------------------------------------------------------------------


def read(reading: Reading, verb: str, args: Args, settings: Settings) -> Iterator[Row]:
    """Raises UsageError for a verb or an argument that is none, else MtaError."""
    kind, answer = READS[verb]
    return answer(reading, _converted(kind, verb, args), settings)


def _user_show(reading: Reading, args: _Who, settings: Settings) -> Iterator[Row]:
    person = reading.person(int(args.user)) if _is_id(args.user) else reading.find(args.user)
    if person is None:
        raise DataError(f"{args.user}: no such person")
    yield _shown(person, reading.credentials(person.id))


def _user_list(reading: Reading, args: _Listing, settings: Settings) -> Iterator[Row]:
    after, left = 0, args.limit or 1 << 62
    while left and (people := reading.people(after, min(left, _PAGE))):
        yield from (_shown(person, reading.credentials(person.id)) for person in people)
        after = people[-1].id
        left -= len(people)


def _search(reading: Reading, args: _Search, settings: Settings) -> Iterator[Row]:
    for person in reading.search(args.text, args.limit):
        yield _shown(person, reading.credentials(person.id))


def _show_group(kind: int) -> Callable[[Reading, Any, Settings], Iterator[Row]]:
    def show(reading: Reading, args: _Which, settings: Settings) -> Iterator[Row]:
        met = reading.entry(args.address)
        if met is None or met.kind != KINDS[kind]:
            raise DataError(f"{args.address}: there is no such {KINDS[kind]}")
        yield _shown_group(met)

    return show


def _list_groups(kind: int) -> Callable[[Reading, Any, Settings], Iterator[Row]]:
    def listed(reading: Reading, args: _Listing, settings: Settings) -> Iterator[Row]:
        after, left = "", args.limit or 1 << 62
        while left and (groups := reading.groups(kind, after, min(left, _PAGE))):
            yield from map(_shown_group, groups)
            after = groups[-1].address
            left -= len(groups)

    return listed


def _export(reading: Reading, args: _Export, settings: Settings) -> Iterator[Row]:
    for record in records(reading, secrets=args.secrets):
        yield msgspec.to_builtins(record)


def _resolve(reading: Reading, args: _Which, settings: Settings) -> Iterator[Row]:
    """Everybody who gets mail for an address, and what is wrong on the way."""
    found = expand(args.address, reading.resolve, settings.domains.__contains__)
    for recipient in found.recipients:
        yield recipient._asdict()
    for finding in found.findings:
        yield {"address": finding.address, "trouble": finding.trouble, "detail": str(finding)}


def _check(reading: Reading, args: _Nothing, settings: Settings) -> Iterator[Row]:
    """What an operator would want to know: aliases and lists that lead nowhere or in circles, addresses in domains for
    which no mail comes. Where no domain is local, those of people count as ours."""
    ours = frozenset(settings.domains) or _domains_of_people(reading)
    for record in records(reading, secrets=False):
        for address in (record.address, *record.further):
            domain = split(address)[1]
            if settings.domains and domain not in settings.domains:
                yield _trouble(address, "domain", f"{domain} is not in local.domains: no mail comes for {address}")
        if record.kind != "person":
            start = f"catch-all{record.address}" if record.address.startswith("@") else record.address
            for finding in expand(start, reading.resolve, ours.__contains__).findings:
                yield _trouble(record.address, finding.trouble, str(finding))


def _domains_of_people(reading: Reading) -> frozenset[str]:
    return frozenset(split(r.address)[1] for r in records(reading, secrets=False) if r.kind == "person")


def _trouble(address: str, trouble: str, detail: str) -> Row:
    return {"address": address, "trouble": trouble, "detail": detail}


def _shown(person: Person, credentials: Credentials | None) -> Row:
    """Times in seconds; of the password only whether there is one."""
    row: Row = msgspec.to_builtins(person)
    row["created"], row["changed"] = person.created / 1000, person.changed / 1000
    row["password"] = credentials is not None and bool(credentials.argon2)
    row["scram"] = credentials is not None and credentials.scram is not None
    return row


def _shown_group(group: Resolution) -> Row:
    row: Row = {"address": group.address, "kind": group.kind}
    if group.kind == "alias":
        return row | {"targets": list(group.targets)}
    return row | {"members": list(group.targets), "owner": group.owner}


# ---- writing ---------------------------------------------------------------------------------------------------


def write(verb: str, args: Args, settings: Settings) -> Job:
    """The change, to be made by the writer. Raises UsageError, and DataError for a password that is none. Up to 50 ms,
    any thread."""
    kind, make = WRITES[verb]
    return make(_converted(kind, verb, args), settings)


def _user_add(args: _UserAdd, settings: Settings) -> Job:
    fields = {name: value for name in FIELDS if (value := getattr(args, name))}
    if "display_name" not in fields:
        fields["display_name"] = f"{fields.get('given_name', '')} {fields.get('surname', '')}".strip()
    secret = _credentials(args)

    def job(changes: Changes) -> list[Row]:
        address = args.address
        if not address:
            given, surname = fields.get("given_name", ""), fields.get("surname", "")
            if not given and not surname:
                given, _, surname = fields["display_name"].rpartition(" ")
            address = generate(settings.template, given, surname, settings.domain, changes.taken)
        person = changes.add_person(address, args.further or (), **fields)
        kept = changes.set_credentials(person.id, secret) if secret is not None else None
        return [_shown(person, kept)]

    return job


def _user_set(args: _UserSet, settings: Settings) -> Job:
    fields = {name: value for name in FIELDS if (value := getattr(args, name)) is not None}

    def job(changes: Changes) -> list[Row]:
        number = _number(changes, args.user)
        person = changes.set_person(number, address=args.address, further=args.further, **fields)
        return [_shown(person, changes.credentials(number))]

    return job


def _user_remove(args: _Who, settings: Settings) -> Job:
    return lambda changes: [_shown(changes.remove_person(_number(changes, args.user)), None)]


def _user_passwd(args: _Passwd, settings: Settings) -> Job:
    """Nothing given: the person cannot log in any more."""
    secret = _credentials(args) or Credentials()

    def job(changes: Changes) -> list[Row]:
        number = _number(changes, args.user)
        kept = changes.set_credentials(number, secret)
        return [{"id": number, "password": bool(kept.argon2), "scram": kept.scram is not None}]

    return job


def _group(change: Callable[[Changes, Any], Entry]) -> Callable[[Any, Settings], Job]:
    """A verb that changes one alias or list and shows what is there then."""

    def make(args: Any, settings: Settings) -> Job:
        return lambda changes: [_shown_group(resolution(change(changes, args), ""))]

    return make


def _credentials(args: _Secret | _UserAdd) -> Credentials | None:
    if args.password:
        return make_credentials(args.password)
    return credentials_of(Record(argon2=args.argon2, scram=args.scram))


def _number(changes: Changes, user: str) -> int:
    return int(user) if _is_id(user) else changes.number_of(user)


def _is_id(user: str) -> bool:
    return user.isascii() and user.isdecimal() and len(user) <= 20


def _converted(kind: type[_Arguments], verb: str, args: Args) -> Any:
    try:
        return msgspec.convert(dict(args), kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{verb}: {error}") from None


READS: Final[dict[str, tuple[type[_Arguments], Callable[[Reading, Any, Settings], Iterator[Row]]]]] = {
    "user.show": (_Who, _user_show),
    "user.list": (_Listing, _user_list),
    "alias.show": (_Which, _show_group(ALIAS)),
    "alias.list": (_Listing, _list_groups(ALIAS)),
    "list.show": (_Which, _show_group(LIST)),
    "list.list": (_Listing, _list_groups(LIST)),
    "search": (_Search, _search),
    "export": (_Export, _export),
    "resolve": (_Which, _resolve),
    "check": (_Nothing, _check),
}
WRITES: Final[dict[str, tuple[type[_Arguments], Callable[[Any, Settings], Job]]]] = {
    "user.add": (_UserAdd, _user_add),
    "user.set": (_UserSet, _user_set),
    "user.remove": (_Who, _user_remove),
    "user.passwd": (_Passwd, _user_passwd),
    "alias.add": (_Alias, _group(lambda changes, args: changes.add_alias(args.alias, args.targets))),
    "alias.set": (_Alias, _group(lambda changes, args: changes.set_alias(args.alias, args.targets))),
    "alias.remove": (_Which, _group(lambda changes, args: changes.remove_group(ALIAS, args.address))),
    "list.add": (_List, _group(lambda changes, args: changes.add_list(args.address, args.members, args.owner))),
    "list.owner": (_Owner, _group(lambda changes, args: changes.set_owner(args.address, args.owner))),
    "list.remove": (_Which, _group(lambda changes, args: changes.remove_group(LIST, args.address))),
    "list.members.add": (_Members, _group(lambda changes, args: changes.add_members(args.address, args.members))),
    "list.members.remove": (
        _Members,
        _group(lambda changes, args: changes.remove_members(args.address, args.members)),
    ),
}


def known(verb: str, more: Sequence[str] = ()) -> None:
    """Raises UsageError for a verb that is none."""
    if verb not in READS and verb not in WRITES and verb not in more:
        raise UsageError(f"{verb!r} is no verb of the directory: {', '.join((*READS, *WRITES, *more))}")
