"""What goes into the store's batches: deliveries, removals, mailboxes that go, content that comes in a stream.

Owns: how each of them is written, and whom it tells afterwards. Never does: decide when. Loop thread only.
"""

from collections.abc import Callable, Sequence

from mta.disk.stream import DiskStream
from mta.errors import StorageError
from mta.store.batch import StoreBatch
from mta.store.protocol import Delivery, Outcome

#: Copies that are added or removed at one go, 5 to 10 ms: more than these go over several turns of the loop, which
#: meanwhile serves everybody. It stays one transaction, and what is delivered meanwhile waits for its commit.
SLICE = 1000


class DeliveryJob:
    """One content for one or more mailboxes."""

    def __init__(self, delivery: Delivery, number: int) -> None:
        self._delivery = delivery
        self._number = number
        self._outcomes: list[Outcome] = []

    def write(self, batch: StoreBatch) -> bool:
        delivery = self._delivery
        stream = delivery.stream
        content: bytes | None = None
        if isinstance(stream, DiskStream):
            octets, ending = stream.octets, stream.ending
        else:
            content = delivery.content or b""
            octets, ending = len(content), content[-2:]
        outcomes = self._outcomes
        copies = delivery.copies[len(outcomes) : len(outcomes) + SLICE]
        outcomes += batch.copies(copies, self._number, octets, ending)
        if len(outcomes) < len(delivery.copies):
            return False
        references = sum(type(outcome) is int for outcome in outcomes)
        batch.body(self._number, octets, references, content)
        return True

    def settle(self) -> None:
        self._delivery.settled(self._delivery, self._outcomes)

    def refuse(self, error: StorageError) -> None:
        outcomes: list[Outcome] = [error] * len(self._delivery.copies)
        self._delivery.settled(self._delivery, outcomes)


class RemovalJob:
    """Messages of one mailbox: all of them or none."""

    def __init__(self, mailbox: int, uids: Sequence[int], done: Callable[[StorageError | None], None]) -> None:
        self._mailbox = mailbox
        self._uids = uids
        self._done = done
        self._at = 0

    def write(self, batch: StoreBatch) -> bool:
        uids = self._uids[self._at : self._at + SLICE]
        self._at += len(uids)
        batch.remove(self._mailbox, uids)
        return self._at == len(self._uids)

    def settle(self) -> None:
        self._done(None)

    def refuse(self, error: StorageError) -> None:
        self._done(error)


class ForgetJob:
    """A mailbox that is to go, if it is empty."""

    def __init__(self, mailbox: int, done: Callable[[StorageError | None], None]) -> None:
        self._mailbox = mailbox
        self._done = done

    def write(self, batch: StoreBatch) -> bool:
        batch.forget(self._mailbox)
        return True

    def settle(self) -> None:
        self._done(None)

    def refuse(self, error: StorageError) -> None:
        self._done(error)


class RunJob:
    """Some pieces of a stream."""

    def __init__(self, stream: DiskStream, first: int, octets: bytes) -> None:
        self._stream = stream
        self._first = first
        self._octets = octets

    def write(self, batch: StoreBatch) -> bool:
        if not self._stream.abandoned:
            batch.pieces(self._stream.number, self._first, self._octets)
        return True

    def settle(self) -> None:
        self._stream.written(len(self._octets))

    def refuse(self, error: StorageError) -> None:
        """The shell must go on reading to the end of the content, to hear that it is refused."""
        self.settle()


class AbandonJob:
    """A stream that no delivery will come for."""

    def __init__(self, stream: DiskStream) -> None:
        self._stream = stream

    def write(self, batch: StoreBatch) -> bool:
        batch.abandon(self._stream.number)
        return True

    def settle(self) -> None:
        """Nobody waits for it."""

    def refuse(self, error: StorageError) -> None:
        """The next start purges it."""
