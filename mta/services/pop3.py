"""POP3: logs people in, opens their maildrops, and removes what they marked when they say QUIT.

Owns: which connection has which maildrop, admission by limits, the delay between logins. A maildrop is locked from the
login until its session ends in any way, and nothing is removed but by QUIT, in one committed transaction.
Never does: parse, touch a socket, check a password, or read the disk itself; that is the session's, the connection's,
``services/login.py``'s and the store's. Loop thread only.
"""

import base64
import itertools
import logging
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, Protocol

from mta.clock import Clock
from mta.errors import StorageError
from mta.net.server import ServerConnection
from mta.policy.sasl import Challenge
from mta.services.checks import Done, Login, Status
from mta.services.connections import Connections
from mta.services.login import MECHANISMS
from mta.store.protocol import CHUNK, Gone, Maildrop
from mta_ext.counters import Counters
from mta_ext.pop3_server import Pop3ServerSession
from mta_ext.session import PENDING, _Pending

_log = logging.getLogger("mta.pop3")

TOO_MANY = b"-ERR [SYS/TEMP] too many connections, try again later\r\n"
DRAINING = b"-ERR [SYS/TEMP] shutting down, try again later\r\n"
FAILING = b"-ERR [SYS/TEMP] storage trouble, try again later\r\n"
IN_USE = b"-ERR [IN-USE] the maildrop is open in another session\r\n"
TOO_SOON = b"-ERR [LOGIN-DELAY] too soon after the last login, wait a little\r\n"
UNREADABLE = b"-ERR [SYS/TEMP] the maildrop cannot be read, try again later\r\n"
NOT_NOW = b"-ERR [SYS/TEMP] the message cannot be read, try again later\r\n"
GONE = b"-ERR [SYS/PERM] the message is not there any more\r\n"
NOT_REMOVED = b"-ERR [SYS/TEMP] nothing was removed, try again later\r\n"

#: What a login that comes to nothing is told. Only ``wrong`` says that another password may help (RFC 3206 §4).
REFUSALS: dict[Status, bytes] = {
    "wrong": b"-ERR [AUTH] wrong name or password\r\n",
    "unavailable": b"-ERR [SYS/TEMP] logins cannot be checked now, try again later\r\n",
    "busy": b"-ERR [SYS/TEMP] too many logins at once, try again later\r\n",
}


class Maildrops(Protocol):
    """What POP3 needs of the store."""

    def maildrop(self, mailbox: int) -> Maildrop | None:
        """None: another session has it, or its removal is not committed yet. Raises StorageError."""


class Check(Protocol):
    """A login that is being decided."""

    def cancel(self) -> None:
        """Nobody waits for it any more: ``done`` is not called."""


class Exchange(Protocol):
    """A SASL exchange, step by step; ``done`` as with ``Logins.check``."""

    def step(self, response: bytes | None, done: Done) -> Challenge | Check: ...


class Logins(Protocol):
    """Who may log in. ``done(login)`` comes later on the loop, never inside the call."""

    def check(self, user: str, password: str, client: str, done: Done) -> Check: ...
    def exchange(self, mechanism: str, client: str) -> Exchange | None: ...


class Pop3Settings(NamedTuple):
    """From the configuration. ``login_delay``: seconds between two logins to a mailbox; 0: none."""

    hostname: str
    connections: int
    connections_per_client: int
    login_delay: float = 0.0


class Access(NamedTuple):
    """How one listener lets people in. ``secure``: TLS from the first octet. ``starttls``: STLS is offered.
    ``plaintext``: passwords may be shown without TLS."""

    secure: bool = False
    starttls: bool = False
    plaintext: bool = False


Opened = Callable[[ServerConnection, tuple[str, int]], "Pop3ServerSession | bytes"]


class Pop3:
    """One per store process: what all its POP3 connections share."""

    def __init__(
        self, settings: Pop3Settings, logins: Logins, maildrops: Maildrops, counters: Counters, clock: Clock
    ) -> None:
        self.settings = settings
        self.logins = logins
        self.maildrops = maildrops
        self.clock = clock
        self.connections: Connections[ServerConnection] = Connections(
            settings.connections, settings.connections_per_client, counters
        )
        #: The -ERR for new connections and logins: draining, store failed. None: all is well.
        self.refusal: bytes | None = None
        self._handlers: dict[ServerConnection, Pop3Session] = {}
        self._logged_in: dict[int, float] = {}

    def listener(self, access: Access) -> Opened:
        """``opened`` for the connections of one listener."""
        return partial(self._opened, access)

    def _opened(self, access: Access, connection: ServerConnection, peer: tuple[str, int]) -> Pop3ServerSession | bytes:
        """A connection came in: its session, or the reply that turns it away."""
        address = peer[0]
        if self.refusal is not None:
            return self.refusal
        if not self.connections.room_for(address):
            return TOO_MANY
        self.connections.add(connection, address)
        handler = Pop3Session(self, connection, address)
        self._handlers[connection] = handler
        handler.session = Pop3ServerSession(
            handler,
            self.settings.hostname,
            secure=access.secure,
            starttls=access.starttls,
            plaintext_login=access.plaintext,
            mechanisms=MECHANISMS,
            login_delay=round(self.settings.login_delay),
        )
        return handler.session

    def closed(self, connection: ServerConnection) -> None:
        """In whatever state: what was locked for it is free."""
        self.connections.remove(connection)
        handler = self._handlers.pop(connection, None)
        if handler is not None:
            handler.leave()

    def drain(self, reply: bytes = DRAINING) -> None:
        """Takes nothing new; idle connections are closed now, their marks forgotten; the others when they are idle."""
        self.refusal = reply
        self.connections.shut_idle(reply)

    def open(self, mailbox: int) -> Maildrop | bytes:
        """The maildrop of who has just logged in, or why there is none."""
        if self.refusal is not None:
            return self.refusal
        if self._too_soon(mailbox):
            return TOO_SOON
        try:
            drop = self.maildrops.maildrop(mailbox)
        except StorageError as error:
            _log.error("pop3: the maildrop of mailbox %d: %s", mailbox, error)
            return UNREADABLE
        if drop is None:
            return IN_USE
        if self.settings.login_delay:
            self._logged_in[mailbox] = self.clock.monotonic()
        return drop

    def _too_soon(self, mailbox: int) -> bool:
        """Forgets the logins whose time is over, the oldest first, so that the table holds those of one delay."""
        until = self.clock.monotonic() - self.settings.login_delay
        logged_in = self._logged_in
        while logged_in and logged_in[first := next(iter(logged_in))] <= until:
            del logged_in[first]
        return mailbox in logged_in


class Pop3Session:
    """Policy of one connection: the call-backs of its session (see ``mta_ext.pop3_server.Pop3ServerHandler``)."""

    __slots__ = ("_check", "_connection", "_drop", "_exchange", "_pop3", "address", "session")

    def __init__(self, pop3: Pop3, connection: ServerConnection, address: str) -> None:
        self._pop3 = pop3
        self._connection = connection
        self.address = address
        self.session: Pop3ServerSession
        self._check: Check | None = None
        self._exchange: Exchange | None = None
        self._drop: Maildrop | None = None

    def on_login(self, user: str, password: str) -> bytes | _Pending | None:
        self._check = self._pop3.logins.check(user, password, self.address, self._checked)
        return PENDING

    def on_sasl(self, mechanism: str, response: bytes | None) -> bytes | _Pending | None:
        if self.session.exchange_step == 0:
            self._exchange = self._pop3.logins.exchange(mechanism, self.address)
        assert self._exchange is not None, "only what is known is offered"
        step = self._exchange.step(response, self._checked)
        if isinstance(step, Challenge):
            return b"+ %b\r\n" % base64.b64encode(step.octets)
        self._exchange = None
        self._check = step
        return PENDING

    def on_retrieve(self, index: int) -> Iterable[bytes] | bytes:
        """The first piece is read here, while a reply can still say that there is none; most messages are one."""
        drop = self._drop
        assert drop is not None
        try:
            if drop.sizes[index] <= CHUNK:
                return (drop.whole(index),)
            pieces = drop.content(index)
            first = next(pieces, b"")
        except Gone:
            return GONE
        except StorageError as error:
            _log.error("pop3: %s", error)
            return NOT_NOW
        return itertools.chain((first,), pieces)

    def on_quit(self, deleted: list[int]) -> bytes | _Pending | None:
        assert self._drop is not None
        if not deleted:
            self._release()
            return None
        self._drop.remove(deleted, self._removed)
        return PENDING

    def on_error(self, exception: BaseException) -> None:
        """A message that broke off on its way, or a bug of ours: the session says -ERR or closes, we say where."""
        if isinstance(exception, StorageError | EOFError):
            _log.error("pop3: a message broke off: %s", exception)
        else:
            _log.error("pop3: %r", exception, exc_info=exception)

    def leave(self) -> None:
        """The connection is gone. A removal that is under way goes its way."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        self._exchange = None
        self._release()

    def _checked(self, login: Login) -> None:
        self._check = None
        try:
            reply = self._admit(login)
        except Exception as error:  # nobody else would hear of it, and the client would wait for ever
            self.on_error(error)
            self._release()
            reply = UNREADABLE
        self._connection.answer(reply)

    def _admit(self, login: Login) -> bytes | None:
        """The reply to a login that was decided; None: +OK, with the maildrop."""
        if login.status != "ok":
            return REFUSALS[login.status]
        if self.session.closing:
            return None  # it heard its last word while it waited: nothing must be locked for it
        drop = self._pop3.open(login.person)
        if isinstance(drop, bytes):
            return drop
        self._drop = drop
        self.session.open_maildrop(array("Q", drop.sizes), array("Q", drop.uids))
        return None

    def _removed(self, error: StorageError | None) -> None:
        """After the commit of the removal: only here does QUIT hear +OK."""
        self._release()
        if error is not None:
            _log.error("pop3: nothing was removed: %s", error)
        self._connection.answer(None if error is None else NOT_REMOVED)

    def _release(self) -> None:
        if self._drop is not None:
            self._drop.close()
            self._drop = None
