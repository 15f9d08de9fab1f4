"""The canary: a message of our own that goes all the way, so that it is us who notice when mail does not go through.

Owns: the flights (in by a listener, through the spool, by delivery into a mailbox of its own, where it is looked for
and removed), their figures and what is told of a failure. Never does: repair anything. What a canary meets is what any
client meets; only into the mailbox one looks as an operator does, by the verbs of the store, not by POP3.

The mailbox is ``canary@<first local domain>``, whose person is made where there is none. It is nobody's: after each
flight everything in it is removed. Where the address is somebody's none flies. A listener that wants a login is spoken
to as far as a client without a password gets.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from mta.clock import Clock, rfc5322_date
from mta.errors import DataError, MtaError, UnavailableError
from mta.log import Event, Response

LOCAL_PART = "canary"
DISPLAY_NAME = "Canary of the mail server"
#: Seconds between two looks into the mailbox: first, and at most; each is as long as the flight has taken so far.
FIRST_LOOK, LONGEST_LOOK = 0.01, 0.5
#: Octets of a reply line.
LINE = 4096
#: Part of the interval by which rounds are spread.
SPREAD = 0.1

Row = Mapping[str, Any]
#: (service, verb, arguments) → rows. Raises MtaError.
Ask = Callable[[str, str, dict[str, Any]], AsyncIterator[Row]]


class Target(NamedTuple):
    """A listener. ``name``: as configured, for figures and words. ``path``: of a unix socket."""

    name: str
    protocol: str
    host: str
    port: int
    path: str
    tls: str


class Flights:
    """What became of the canaries of one listener. ``seconds``: of the last that arrived, from its end of content."""

    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0
        self.in_a_row = 0
        self.seconds = 0.0
        self.trouble = ""
        self.since = 0


class Canaries:
    """Rounds over all listeners, one canary at a time. ``write``: EventLog.write; ``say``: a line for the operator.
    Loop thread only."""

    def __init__(
        self,
        targets: Sequence[Target],
        address: str,
        ask: Ask,
        write: Callable[[Event], None],
        say: Callable[[str], None],
        clock: Clock,
        random: Random,
        *,
        hostname: str,
        interval: float,
        timeout: float,
    ) -> None:
        self.flights = {target.name: Flights() for target in targets}
        self._targets = targets
        self._address = address
        self._ask = ask
        self._write = write
        self._say = say
        self._clock = clock
        self._random = random
        self._hostname = hostname
        self._interval = interval
        self._timeout = timeout
        self._began = clock.now_ms()
        self._own = False  # the mailbox is the canary's, by what the directory said last

    async def run(self) -> None:
        """For as long as the server runs."""
        while True:
            for target in self._targets:
                await self.fly(target)
            await asyncio.sleep(self._interval * self._random.uniform(1 - SPREAD, 1 + SPREAD))

    async def fly(self, target: Target) -> None:
        """One canary; never raises."""
        flights = self.flights[target.name]
        flights.sent += 1
        token = f"canary-{self._random.getrandbits(96):024x}"
        try:
            async with asyncio.timeout(self._timeout):
                await self._make_person()
                if await self._hand_over(target, token):
                    flights.seconds = await self._arrival(token)
                    if self._own:
                        await self._rows("store", "mailbox.remove", address=self._address, everything=True)
        except TimeoutError:
            self._failed(target, flights, f"it did not arrive within {self._timeout:g} s")
        except MtaError as e:
            self._failed(target, flights, str(e))
        except OSError as e:
            self._failed(target, flights, e.strerror or str(e))
        else:
            if flights.in_a_row:
                self._say(f"canary by {target.name}: it arrives again ({flights.in_a_row} did not)")
            flights.in_a_row, flights.trouble = 0, ""

    def status(self) -> dict[str, Any]:
        """A row for ``mta status``."""
        trouble = [f"{name}: {flights.trouble}" for name, flights in self.flights.items() if flights.trouble]
        since = min((f.since for f in self.flights.values() if f.trouble), default=self._began)
        return {
            "name": "canary",
            "state": "failing" if trouble else "running",
            "pid": None,
            "since": since / 1000,
            "restarts": 0,
            "description": f"a message of our own goes all the way every {self._interval:.0f} s",
            "reason": "; ".join(trouble),
            "retry_at": None,
        }

    async def _rows(self, service: str, verb: str, **args: Any) -> list[Row]:
        return [row async for row in self._ask(service, verb, args)]

    async def _make_person(self) -> None:
        """Raises DataError when the address is somebody's. Without the directory process the person may be there, and
        RCPT will tell."""
        try:
            [person] = await self._person()
        except MtaError as e:
            if e.exit_code == os.EX_DATAERR:
                self._own = False
                raise
            return
        self._own = person["address"] == self._address and person["display_name"] == DISPLAY_NAME
        if not self._own:
            whose = f"{person['display_name']} <{person['address']}>".strip()
            raise DataError(f"{self._address} is somebody's, {whose}, whose mail would be removed: give it up there")

    async def _person(self) -> list[Row]:
        """Who has the address; without a password nobody can log in. Raises DataError where it is an alias or list."""
        try:
            return await self._rows("directory", "user.show", user=self._address)
        except MtaError as e:
            if e.exit_code != os.EX_DATAERR:
                raise
        return await self._rows("directory", "user.add", address=self._address, display_name=DISPLAY_NAME)

    async def _hand_over(self, target: Target, token: str) -> bool:
        """False: the listener wants a login first."""
        dialogue = await _Dialogue.open(target)
        try:
            return await dialogue.hand_over(self._hostname, self._address, self._content(token))
        finally:
            dialogue.close()

    def _content(self, token: str) -> bytes:
        lines = [
            f"From: <{self._address}>",
            f"To: <{self._address}>",
            f"Subject: {token}",
            f"Date: {rfc5322_date(self._clock.now_ms())}",
            f"Message-ID: <{token}@{self._hostname}>",
            "Auto-Submitted: auto-generated",
            "",
            "A message of the server's own, which shows that mail goes through.",
        ]
        return "\r\n".join([*lines, ""]).encode()

    async def _arrival(self, token: str) -> float:
        began = self._clock.monotonic()
        while True:
            rows = await self._rows("store", "mailbox.list", address=self._address)
            if any(row["subject"] == token for row in rows):
                return self._clock.monotonic() - began
            gone = self._clock.monotonic() - began
            await asyncio.sleep(min(max(FIRST_LOOK, gone), LONGEST_LOOK))

    def _failed(self, target: Target, flights: Flights, trouble: str) -> None:
        now = self._clock.now_ms()
        flights.failed += 1
        flights.in_a_row += 1
        if flights.in_a_row == 1:
            flights.since = now
        if trouble != flights.trouble:
            self._say(f"canary by {target.name}: {trouble}")
        flights.trouble = trouble
        self._write(
            Event(
                type="TransientFailure",
                sender=self._address,
                recipient=self._address,
                queue=self._address.rpartition("@")[2],
                site=target.name,
                response=Response(0, "", trouble, "canary"),
                timestamp=now / 1000,
                created=now / 1000,
                num_attempts=flights.in_a_row,
            )
        )


class _Dialogue:
    """One session, spoken command by command: nothing is won by pipelining, and a failure is to have a place."""

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._target = target
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, target: Target) -> "_Dialogue":
        context = _any_certificate() if target.tls == "implicit" else None
        if target.path:
            name = "" if context else None
            pair = await asyncio.open_unix_connection(target.path, limit=LINE, ssl=context, server_hostname=name)
        else:
            pair = await asyncio.open_connection(target.host, target.port, limit=LINE, ssl=context)
        return cls(target, *pair)

    def close(self) -> None:
        self._writer.close()

    async def hand_over(self, hostname: str, address: str, content: bytes) -> bool:
        hello = f"{'LHLO' if self._target.protocol == 'lmtp' else 'EHLO'} {hostname}"
        await self._expect("the greeting", None, b"220")
        await self._expect(hello, hello, b"250")
        if self._target.tls in ("starttls", "required"):
            await self._expect("STARTTLS", "STARTTLS", b"220")
            await self._writer.start_tls(_any_certificate())
            await self._expect(hello, hello, b"250")
        mail = await self._expect("MAIL", f"MAIL FROM:<{address}>", b"250", b"530")
        if mail.startswith(b"250"):
            await self._expect("RCPT", f"RCPT TO:<{address}>", b"250")
            await self._expect("DATA", "DATA", b"354")
            self._writer.write(content)
            await self._expect("the end of content", ".", b"250")
        with suppress(OSError):
            await self._expect("QUIT", "QUIT", b"221", b"250")
        return mail.startswith(b"250")

    async def _expect(self, what: str, command: str | None, *codes: bytes) -> bytes:
        """The last line of the reply. Raises UnavailableError for any other code, OSError."""
        if command is not None:
            self._writer.write(command.encode() + b"\r\n")
        line = b"   -"
        try:
            while line[3:4] == b"-":
                line = await self._reader.readline()
        except ValueError:
            raise UnavailableError(f"{what}: the reply has no end") from None
        if not line.startswith(codes):
            said = line.decode("utf-8", "replace").strip() or "the connection was closed"
            raise UnavailableError(f"{what}: {said}")
        return line


def _any_certificate() -> ssl.SSLContext:
    """It is our own server, and whose certificate it shows is for its clients to check."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
