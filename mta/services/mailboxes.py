"""What an operator may ask about mailboxes: the verbs of the store, the same on a running server and on its files.

Owns: the rows of each verb, and content that an import sends in parts. Never does: know files of other programs
(``mta.store.formats`` and ``mta mailbox`` do). Loop thread only; long work lets others have their turn.

A mailbox is named by an address of its person, or by its number, which is what is left of a person who is no more.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, closing
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import msgspec

from mta.clock import LAST_MOMENT, Clock
from mta.directory.protocol import Directory
from mta.errors import DataError, MtaError, StorageError, TemporaryError, UsageError
from mta.model.spoolid import TEXT_LENGTH, format_id, parse_id
from mta.services.uploads import Uploads
from mta.store.formats import summary
from mta.store.protocol import (
    NO_QUOTA,
    Audit,
    ContentStream,
    Copy,
    Delivery,
    Gone,
    Maildrop,
    Outcome,
    Quota,
    Store,
    Usage,
    View,
)

Row = Mapping[str, Any]

#: Rows between two turns for others: a listing reads a page or two for each.
TURN = 50
#: Mailboxes of a page of usage.
PAGE = 500
#: Messages that an erasure removes in one transaction: some 10 ms of the loop, and deliveries wait no longer for it.
BITE = 1000
#: Of the greatest number of a mailbox.
_DIGITS = 20


class _Named(msgspec.Struct):
    address: str


class _Chosen(_Named):
    """``messages``: numbers from 1, or unique-ids; none: all, where ``everything`` says so or the verb only reads."""

    messages: list[str] = []
    everything: bool = False


class _Several(msgspec.Struct):
    mailboxes: list[str]


class _Letter(msgspec.Struct):
    """``arrived``: seconds since 1970; ``content``: base 64 on its way through JSON."""

    content: bytes
    unique_id: str = ""
    arrived: float = 0.0


class _Import(_Named):
    """``messages``: whole ones. ``upload``: one that comes in parts, ``part`` by part: "" begins it, the answer's name
    goes on with it; ``more`` says that this is not its last part."""

    messages: list[_Letter] = []
    upload: str | None = None
    part: _Letter | None = None
    more: bool = False


class _Usage(msgspec.Struct):
    address: str = ""


_T = TypeVar("_T")


class Reading(Protocol):
    """What a stopped store does as well."""

    def view(self, mailbox: int) -> View: ...

    def usage(self, mailbox: int) -> Usage: ...

    def mailboxes(self, after: int, limit: int) -> list[int]: ...

    async def audit(self) -> Audit: ...


class MailboxVerbs:
    """``store``: for import and removal a whole ``Store``. ``message_size``: octets of an imported message."""

    def __init__(
        self,
        store: Reading,
        directory: Directory,
        clock: Clock,
        *,
        quota: Quota = NO_QUOTA,
        message_size: int,
    ) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._quota = quota
        self._size = message_size
        self._uploads = Uploads(self._open_stream, message_size)
        self._verbs: dict[str, Callable[[Row], AsyncIterator[Row]]] = {
            "mailbox.list": self.list,
            "mailbox.show": self.show,
            "mailbox.export": self.export,
            "mailbox.import": self.import_,
            "mailbox.remove": self.remove,
            "mailbox.orphans": self.orphans,
            "mailbox.erase": self.erase,
            "mailbox.usage": self.usage,
            "audit": self.audit,
        }

    def answer(self, verb: str, args: Row) -> AsyncIterator[Row]:
        """The rows of a request. Raises MtaError."""
        work = self._verbs.get(verb)
        if work is None:
            raise UsageError(f"the store knows no {verb!r}: {', '.join(self._verbs)}")
        return work(args)

    def _writing(self) -> Store:
        return cast(Store, self._store)

    def _open_stream(self) -> ContentStream:
        return self._writing().open_stream()

    def mailbox(self, address: str) -> int:
        """The number of an address's mailbox. Raises DataError."""
        if address.isdecimal() and len(address) <= _DIGITS:
            number = min(int(address), (1 << 64) - 1)
            if not number or self._store.mailboxes(number - 1, 1) != [number]:
                raise DataError(f"there is no mailbox {address}: `mta mailbox usage` lists them")
            return number
        found = self._directory.resolve(address)
        if found is None:
            raise DataError(f"{address}: there is nobody of that address: `mta directory user list`")
        if found.kind != "mailbox":
            raise DataError(f"{address} is a{'n' * (found.kind == 'alias')} {found.kind}: name the mailbox of a person")
        return found.mailbox

    # Looking

    async def list(self, args: Row) -> AsyncIterator[Row]:
        """Number, unique-id, size, arrival, From and Subject of each message."""
        view = self._store.view(self.mailbox(_args(args, _Named).address))
        for index in range(len(view.sizes)):
            if index % TURN == TURN - 1:
                await asyncio.sleep(0)
            try:
                yield _row(view, index)
            except Gone:
                continue  # it was removed while we were reading

    async def show(self, args: Row) -> AsyncIterator[Row]:
        """One message: its row, then its content."""
        asked = _args(args, _Chosen)
        view = self._store.view(self.mailbox(asked.address))
        if len(asked.messages) != 1:
            raise UsageError("name one message, by its number or its unique-id")
        (index,) = _chosen(view, asked.messages, asked.address)
        yield _row(view, index)
        for chunk in view.content(index):
            yield {"content": chunk}

    async def export(self, args: Row) -> AsyncIterator[Row]:
        """Each message as with ``show``, one behind the other."""
        asked = _args(args, _Chosen)
        view = self._store.view(self.mailbox(asked.address))
        for index in _chosen(view, asked.messages, asked.address) if asked.messages else range(len(view.sizes)):
            try:
                yield _row(view, index)
                for chunk in view.content(index):
                    yield {"content": chunk}
                    await asyncio.sleep(0)
            except Gone:
                yield {"gone": True}

    async def usage(self, args: Row) -> AsyncIterator[Row]:
        """Messages and octets of one mailbox, or of all of them."""
        address = _args(args, _Usage).address
        if address:
            yield self._used(self.mailbox(address))
            return
        after = 0
        while page := self._store.mailboxes(after, PAGE):
            for number in page:
                yield self._used(number)
            after = page[-1]
            await asyncio.sleep(0)

    def _used(self, number: int) -> Row:
        used = self._store.usage(number)
        try:
            person = self._directory.person(number)
        except StorageError:
            person = None  # the mail is there all the same
        return {
            "mailbox": str(number),
            "address": person.address if person is not None else "",
            "messages": used.messages,
            "octets": used.octets,
            "quota_messages": self._quota.messages,
            "quota_octets": self._quota.octets,
        }

    async def audit(self, args: Row) -> AsyncIterator[Row]:
        """The books against a recount."""
        yield msgspec.structs.asdict(await self._store.audit())

    # Changing

    async def import_(self, args: Row) -> AsyncIterator[Row]:
        """Puts messages into a mailbox as they are; a row each, after its commit: ``unique_id``, or ``error`` and
        ``exit``. Of a part that is not the last one: ``upload``."""
        asked = _args(args, _Import)
        mailbox = self.mailbox(asked.address)
        if asked.upload is not None and asked.part is not None:
            upload, stream = self._uploads.append(asked.upload, mailbox, asked.part.content, more=asked.more)
            if asked.more:
                await self._uploads.drained(stream)
                yield {"upload": upload}
            else:
                yield _imported(await self._deliver(_copy(mailbox, asked.part), None, stream))
            return
        for letter in asked.messages:
            if len(letter.content) > self._size:
                raise DataError(f"a message has {len(letter.content)} octets: limits.message_size is {self._size}")
        waiting = [self._deliver(_copy(mailbox, letter), letter.content) for letter in asked.messages]
        for outcome in await asyncio.gather(*waiting):
            yield _imported(outcome)

    def _deliver(
        self, copy: Copy, content: bytes | None, stream: ContentStream | None = None
    ) -> "asyncio.Future[Outcome]":
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        delivery = Delivery([copy], content, lambda _delivery, outcomes: _settle(future, outcomes[0]), stream)
        self._writing().deliver(delivery)
        return future

    async def remove(self, args: Row) -> AsyncIterator[Row]:
        """All that were named or none; a row each, after the commit."""
        asked = _args(args, _Chosen)
        mailbox = self.mailbox(asked.address)
        if not asked.messages and not asked.everything:
            raise UsageError("name messages, or say that all are to go")
        with closing(self._locked(mailbox, asked.address)) as maildrop:
            everything = range(len(maildrop.sizes))
            indexes = everything if asked.everything else _chosen(maildrop, asked.messages, asked.address)
            names = [format_id(maildrop.uids[index]) for index in indexes]
            await _committed(partial(maildrop.remove, indexes))
        for index, name in zip(indexes, names, strict=True):
            yield {"number": index + 1, "unique_id": name}

    def _locked(self, mailbox: int, address: str) -> Maildrop:
        maildrop = self._writing().maildrop(mailbox)
        if maildrop is None:
            raise TemporaryError(f"{address}: a POP3 session has the mailbox; try again when it has ended")
        return maildrop

    async def orphans(self, args: Row) -> AsyncIterator[Row]:
        """What ``usage`` says of each mailbox whose person is no more. Raises DirectoryUnreadable, and DataError for a
        directory that holds nobody: it may not be the one that these mailboxes belong to."""
        if not self._directory.people(0, 1):
            raise DataError("the directory holds nobody, so every mailbox would go: name each by its number instead")
        after = 0
        while page := self._store.mailboxes(after, PAGE):
            for number in page:
                if self._directory.person(number) is None:
                    yield self._used(number)
            after = page[-1]
            await asyncio.sleep(0)

    async def erase(self, args: Row) -> AsyncIterator[Row]:
        """Takes away mailboxes whose person is no more: the messages BITE by BITE, a commit and a row each (from
        ``before`` to ``removed`` of ``messages``), then the mailbox, and a row with ``erased``. Broken off, by
        whatever, it leaves a mailbox with fewer messages. One that is refused is a row with ``error`` and ``exit``, and
        the others go. Raises DirectoryUnreadable when nobody can tell who exists."""
        for name in _args(args, _Several).mailboxes:
            try:
                async with aclosing(self._erase(name)) as rows:
                    async for row in rows:
                        yield row
            except (DataError, TemporaryError) as error:
                yield {"mailbox": name, "error": str(error), "exit": error.exit_code}

    async def _erase(self, address: str) -> AsyncGenerator[Row, None]:
        mailbox = self.mailbox(address)
        person = self._directory.person(mailbox)
        if person is not None:
            raise DataError(
                f"mailbox {mailbox} belongs to {person.address}: `mta directory user remove` that person first, or "
                "empty it with `mta mailbox remove --all`"
            )
        told = {"mailbox": str(mailbox)}
        with closing(self._locked(mailbox, address)) as maildrop:
            messages = len(maildrop.sizes)
            for start in range(0, messages, BITE):
                bite = range(start, min(start + BITE, messages))
                await _committed(partial(maildrop.remove, bite))
                yield told | {"before": start, "removed": bite.stop, "messages": messages}
            await _committed(maildrop.forget)
        if self._store.mailboxes(mailbox - 1, 1) == [mailbox]:
            raise TemporaryError(f"{address}: a message came while it was erased; say it again")
        yield told | {"messages": messages, "octets": sum(maildrop.sizes), "erased": True}


def _settle(future: "asyncio.Future[_T]", result: _T) -> None:
    """Whoever asked may have gone."""
    if not future.done():
        future.set_result(result)


async def _committed(begin: "Callable[[Callable[[StorageError | None], None]], None]") -> None:
    """Begins a removal and returns after its commit. Raises StorageError."""
    done: asyncio.Future[StorageError | None] = asyncio.get_running_loop().create_future()
    begin(lambda error: _settle(done, error))
    if (error := await done) is not None:
        raise error


def _args(args: Row, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(args, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"the request is wrong: {error}") from error


def _row(view: View, index: int) -> Row:
    sender, subject = summary(view.beginning(index))
    return {
        "number": index + 1,
        "unique_id": format_id(view.uids[index]),
        "size": view.sizes[index],
        "arrived": view.arrival(index) / 1000,
        "from": sender,
        "subject": subject,
    }


def _chosen(view: View, messages: "list[str]", address: str) -> "list[int]":
    """Indexes, ascending. Raises DataError for one that is not there."""
    by_uid = {uid: index for index, uid in enumerate(view.uids)} if any(map(_is_unique_id, messages)) else {}
    found = set()
    for name in messages:
        index = by_uid.get(parse_id(name), -1) if _is_unique_id(name) else _number(name) - 1
        if not 0 <= index < len(view.sizes):
            raise DataError(f"{address}: there is no message {name}; it has {len(view.sizes)}")
        found.add(index)
    return sorted(found)


def _is_unique_id(name: str) -> bool:
    return len(name) == TEXT_LENGTH


def _number(name: str) -> int:
    return int(name) if name.isdecimal() and len(name) < TEXT_LENGTH else 0


def _copy(mailbox: int, letter: _Letter) -> Copy:
    try:
        uid = parse_id(letter.unique_id) if letter.unique_id else 0
    except DataError:
        uid = 0  # another program's: it gets one of ours
    return Copy(mailbox, b"", uid, int(max(0, min(letter.arrived, LAST_MOMENT)) * 1000))


def _imported(outcome: Outcome) -> Row:
    if isinstance(outcome, MtaError):
        return {"error": str(outcome), "exit": outcome.exit_code}
    return {"unique_id": format_id(outcome)}
