"""A scripted, faulty SMTP or LMTP server: a pure object, octets in and octets out, and an asyncio shell for it.

Owns: a server grammar just good enough for clients under test, a script of answers by verb, what was received.
Verbs of a script: CONNECT EHLO HELO LHLO STARTTLS AUTH MAIL RCPT DATA DOT BDAT RSET QUIT. Each
time a verb comes up, the next answer of its list is used; behind its end, and without a list, the server behaves.
Never does: judging what a client sends, beyond noting commands out of sequence in ``violations``.
"""

import asyncio
import base64
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from mta.directory.passwords import scram_keys
from mta.policy.sasl import Attempt, Challenge, Login, Mechanism, Plain, Proved, Scram

EXTENSIONS = ("PIPELINING", "SIZE 10240000", "8BITMIME", "ENHANCEDSTATUSCODES")


@dataclass(frozen=True)
class Answer:
    """``octets`` as they go out, then perhaps the end: ``drop`` closes, ``mute`` answers nothing any more."""

    octets: bytes = b""
    drop: bool = False
    mute: bool = False


DROP = Answer(drop=True)
MUTE = Answer(mute=True)


def say(line: str) -> Answer:
    """One reply line, its line end added."""
    return Answer(line.encode() + b"\r\n")


@dataclass
class Received:
    """A transaction that the remote took to its end of content, whatever it replied."""

    reverse_path: str
    recipients: list[str]
    content: bytes
    mail: str = ""
    chunked: bool = False
    arguments: list[str] = field(default_factory=list)


@dataclass
class ScriptedRemote:
    """``connected`` first, then ``receive`` for what comes; ``closed`` when the script has dropped the connection."""

    script: Mapping[str, Iterable[Answer | str]] = field(default_factory=dict)
    extensions: tuple[str, ...] = EXTENSIONS
    lmtp: bool = False
    #: What it offers after STARTTLS; None: the same.
    secured: tuple[str, ...] | None = None
    people: Mapping[str, str] = field(default_factory=dict)
    logins: list[str] = field(default_factory=list)
    wants_tls: bool = False
    secure: bool = False
    closed: bool = False
    mute: bool = False
    commands: list[str] = field(default_factory=list)
    reads: list[list[str]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._answers = {verb: iter(answers) for verb, answers in self.script.items()}
        self._input = bytearray()
        self._output = bytearray()
        self._searched = 0  # octets of content known to hold no end of it
        self._content = False
        self._mail: str | None = None
        self._recipients: list[str] = []
        self._arguments: list[str] = []
        self._chunk: tuple[int, bool] | None = None
        self._exchange: Mechanism | None = None

    def tls_started(self) -> None:
        """The handshake is done: nothing of before is known."""
        self.wants_tls, self.secure = False, True
        if self.secured is not None:
            self.extensions = self.secured
        self._input.clear()

    def connected(self) -> bytes:
        """The greeting."""
        self._answer("CONNECT", "220 remote.example ESMTP")
        return self._take()

    def receive(self, octets: bytes) -> bytes:
        """What goes back for these octets; empty for none."""
        self.reads.append([])
        self._input += octets
        while not self.closed and self._step():
            pass
        return self._take()

    def _take(self) -> bytes:
        output = bytes(self._output)
        self._output.clear()
        return output

    def _step(self) -> bool:
        if self._content:
            return self._step_content()
        if self._chunk is not None:
            return self._step_chunk(*self._chunk)
        line, end, rest = self._input.partition(b"\r\n")
        if not end:
            return False
        self._input = rest
        if b"\r" in line or b"\n" in line:
            self.violations.append(f"a bare CR or LF in {bytes(line)!r}")
        command = line.decode("latin-1")
        if self._exchange is not None:
            self._on_response(base64.b64decode(line) if line != b"*" else None)
            return True
        self.commands.append(command)
        self.reads[-1].append(command)
        self._on_command(command)
        return True

    def _on_command(self, command: str) -> None:
        verb, _, argument = command.partition(" ")
        handler = getattr(self, f"_on_{verb.lower()}", None)
        if handler is None:
            self.violations.append(f"unknown command {command!r}")
            self._put(say("500 5.5.2 what?"))
        else:
            handler(argument)

    def _answer(self, verb: str, default: str) -> int:
        """Says the next answer of the script; returns its code, 0 when it has none."""
        found = next(self._answers.get(verb, iter(())), default)
        answer = say(found) if isinstance(found, str) else found
        self._put(answer)
        digits = answer.octets[:3]
        return int(digits) if digits.isdigit() else 0

    def _put(self, answer: Answer) -> None:
        if self.mute or self.closed:
            return
        self._output += answer.octets
        self.mute = answer.mute
        self.closed = answer.drop

    # --- commands ---

    def _on_ehlo(self, argument: str) -> None:
        lines = ["remote.example", *self.extensions]
        shown = [f"250{'-' if n < len(lines) - 1 else ' '}{line}" for n, line in enumerate(lines)]
        self._answer("LHLO" if self.lmtp else "EHLO", "\r\n".join(shown))

    _on_lhlo = _on_ehlo

    def _on_helo(self, argument: str) -> None:
        self._answer("HELO", "250 remote.example")

    def _on_mail(self, argument: str) -> None:
        if self._mail is not None:
            self.violations.append("MAIL inside a transaction")
            self._put(say("503 5.5.1 nested MAIL"))
        elif 200 <= self._answer("MAIL", "250 2.1.0 sender ok") < 300:
            self._mail = argument

    def _on_rcpt(self, argument: str) -> None:
        if self._mail is None:
            self._put(say("503 5.5.1 MAIL first"))
        elif 200 <= self._answer("RCPT", "250 2.1.5 recipient ok") < 300:
            self._recipients.append(_path(argument))
            self._arguments.append(argument)

    def _on_data(self, argument: str) -> None:
        polite = "354 go ahead" if self._recipients else "554 5.5.1 no valid recipients"
        self._content = 300 <= self._answer("DATA", polite) < 400

    def _on_starttls(self, argument: str) -> None:
        self.wants_tls = self._answer("STARTTLS", "220 2.0.0 go on") == 220

    def _on_auth(self, argument: str) -> None:
        name, _, initial = argument.partition(" ")
        keys = {user: scram_keys(password, b"salt of sixteen.", 4096) for user, password in self.people.items()}
        kinds = {"PLAIN": Plain, "LOGIN": Login}
        self._exchange = kinds[name]() if name in kinds else Scram(keys.get, "server", lambda user: keys[""])
        octets = base64.b64decode(initial) if initial not in ("", "=") else b""
        self._on_response(octets if initial else None, first=True)

    def _on_response(self, octets: bytes | None, *, first: bool = False) -> None:
        assert self._exchange is not None
        step = self._exchange.step(octets) if first or octets is not None else None
        if isinstance(step, Challenge):
            self._answer("CHALLENGE", f"334 {base64.b64encode(step.octets).decode()}")
            return
        self._exchange = None
        known = isinstance(step, Attempt) and self.people.get(step.user) == step.password
        good = isinstance(step, Proved) or known
        if 200 <= self._answer("AUTH", "235 2.7.0 welcome" if good else "535 5.7.8 no") < 300 and step is not None:
            self.logins.append(getattr(step, "user", ""))

    def _on_bdat(self, argument: str) -> None:
        octets, _, last = argument.partition(" ")
        self._chunk = (int(octets), last == "LAST")
        if not last:
            self.violations.append("a chunk that is not the last")

    def _on_rset(self, argument: str) -> None:
        self._end_transaction()
        self._answer("RSET", "250 2.0.0 reset")

    def _on_quit(self, argument: str) -> None:
        self._answer("QUIT", "221 2.0.0 bye")
        self.closed = True

    # --- content ---

    def _step_content(self) -> bool:
        if self._input.startswith(b".\r\n"):
            content, end = b"", 3
        else:
            at = self._input.find(b"\r\n.\r\n", self._searched)
            if at < 0:
                self._searched = max(0, len(self._input) - 4)
                return False
            content, end = bytes(self._input[: at + 2]), at + 5
        del self._input[:end]
        self._searched = 0
        self._content = False
        lines = content.split(b"\r\n")
        unstuffed = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
        self.reads[-1].append(".")
        self.received.append(
            Received(
                _path(self._mail or ""), self._recipients[:], unstuffed, self._mail or "", False, self._arguments[:]
            )
        )
        for n in range(len(self._recipients) if self.lmtp else 1):
            self._answer("DOT", f"250 2.0.0 queued as {len(self.received)}.{n}")
        self._end_transaction()
        return True

    def _step_chunk(self, octets: int, last: bool) -> bool:
        if len(self._input) < octets:
            return False
        content = bytes(self._input[:octets])
        del self._input[:octets]
        self._chunk = None
        self.reads[-1].append("chunk")
        if not self._recipients:
            self.violations.append("BDAT without recipients")
            self._put(say("503 5.5.1 no valid recipients"))
            return True
        mail = self._mail or ""
        self.received.append(Received(_path(mail), self._recipients[:], content, mail, True, self._arguments[:]))
        codes = [
            self._answer("BDAT", f"250 2.0.0 queued as {len(self.received)}.{n}")
            for n in range(len(self._recipients) if self.lmtp else 1)
        ]
        if codes[-1] < 300:  # what was refused is still open, as with servers that take RFC 3030 at its word
            self._end_transaction()
        return True

    def _end_transaction(self) -> None:
        self._mail = None
        self._recipients = []
        self._arguments = []


def _path(argument: str) -> str:
    return argument.partition("<")[2].rpartition(">")[0]


class _Shell(asyncio.Protocol):
    def __init__(
        self, remote: ScriptedRemote, connections: set[asyncio.Transport], context: ssl.SSLContext | None = None
    ) -> None:
        self._remote = remote
        self._connections = connections
        self._context = context
        self._early: list[bytes] | None = None  # what comes through TLS before we hear that it is there

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._connections.add(self._transport)
        self._write(self._remote.connected())

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early.append(data)
            return
        self._write(self._remote.receive(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._transport)

    def _write(self, octets: bytes) -> None:
        if octets:
            self._transport.write(octets)
        if self._remote.wants_tls:
            self._transport.pause_reading()
            self._early = []
            self._handshake = asyncio.get_running_loop().create_task(self._shake_hands())
            return
        if self._remote.closed:
            self._transport.close()

    async def _shake_hands(self) -> None:
        try:
            secured = await asyncio.get_running_loop().start_tls(self._transport, self, self._context, server_side=True)
        except OSError:
            self._transport.abort()
            return
        self._connections.discard(self._transport)
        self._transport = secured
        self._connections.add(secured)
        self._remote.tls_started()
        early, self._early = b"".join(self._early or []), None
        if early:
            self.data_received(early)


class ScriptedServer:
    """Listens on loopback; every connection gets a remote from ``make``; ``remotes`` has them in order of arrival.
    ``context``: for STARTTLS; ``implicit``: before the greeting."""

    def __init__(
        self,
        make: Callable[[], ScriptedRemote] = ScriptedRemote,
        *,
        context: ssl.SSLContext | None = None,
        implicit: bool = False,
    ) -> None:
        self._make = make
        self._context = context
        self._implicit = implicit
        self._connections: set[asyncio.Transport] = set()
        self.remotes: list[ScriptedRemote] = []
        self.port = 0

    def _shell(self) -> _Shell:
        remote = self._make()
        self.remotes.append(remote)
        return _Shell(remote, self._connections, self._context)

    async def __aenter__(self) -> "ScriptedServer":
        context = self._context if self._implicit else None
        self._server = await asyncio.get_running_loop().create_server(self._shell, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for transport in tuple(self._connections):
            transport.abort()
        await self._server.wait_closed()
