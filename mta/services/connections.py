"""The incoming connections of one service: who may come in, who is here, and how all of them are sent away.

Owns: the counts per client and in all, the word that turns new ones away. Never does: know what they speak.
Loop thread only.
"""

from collections import Counter
from typing import Generic, Protocol, TypeVar

from mta.metrics.layout import ACCEPTED_IN, CONNECTIONS_IN
from mta_ext.counters import Counters


class Session(Protocol):
    @property
    def idle(self) -> bool: ...


class Connection(Protocol):
    """What the shells of ``mta.net`` do."""

    leaving: bool

    @property
    def session(self) -> Session: ...

    def shut(self, reply: bytes) -> None: ...


_C = TypeVar("_C", bound=Connection)


class Connections(Generic[_C]):
    """``limit`` in all, ``per_client`` from one address; a unix socket's clients are our own and not limited so."""

    def __init__(self, limit: int, per_client: int, counters: Counters) -> None:
        self._limit = limit
        self._per_client = per_client
        self._counters = counters
        self._clients: Counter[str] = Counter()
        self._open: dict[_C, str] = {}

    def __len__(self) -> int:
        return len(self._open)

    def room_for(self, address: str) -> bool:
        if len(self._open) >= self._limit:
            return False
        return address == "unix" or self._clients[address] < self._per_client

    def add(self, connection: _C, address: str) -> None:
        self._open[connection] = address
        self._clients[address] += 1
        self._counters.add(CONNECTIONS_IN, 1)
        self._counters.add(ACCEPTED_IN, 1)

    def remove(self, connection: _C) -> None:
        """Harmless for one that was not let in."""
        address = self._open.pop(connection, None)
        if address is None:
            return
        self._counters.add(CONNECTIONS_IN, -1)
        self._clients[address] -= 1
        if not self._clients[address]:
            del self._clients[address]

    def busy(self) -> int:
        """Those that have not heard our last word yet."""
        return sum(not connection.leaving for connection in self._open)

    def shut_idle(self, reply: bytes) -> None:
        for connection in list(self._open):
            if connection.session.idle and not connection.leaving:
                connection.shut(reply)

    def shut_all(self, reply: bytes) -> None:
        """In the middle of something or not."""
        for connection in list(self._open):
            connection.shut(reply)
