"""``mta send``: hands one message to a server over SMTP.

Owns: reading the message, the blocking socket around the SMTP client session, what the outcome means for the exit
code. Never does: queue or retry.
"""

import getpass
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any

import click

from mta.cli.compose import with_crlf, with_headers
from mta.cli.options import config_option, read_config
from mta.clock import SystemClock
from mta.errors import MtaError, TemporaryError, UnavailableError, UsageError
from mta.services.dialogue import Dialogue

if TYPE_CHECKING:
    from mta.config import Config
    from mta_ext.reply import Reply

#: Seconds for a connection, and for each reply: what RFC 5321 §4.5.3.2 asks of a client, and a person's patience.
CONNECT_TIMEOUT = 30.0
REPLY_TIMEOUT = 300.0
DEFAULT_PORT = 25


@click.command("send")
@click.option("-f", "--from", "reverse_path", metavar="FROM", help='Reverse-path ("<>": null; default: you here).')
@click.option("-t", "--to", "forward_paths", metavar="TO", multiple=True, required=True, help="Repeatable.")
@click.option("--server", metavar="HOST:PORT", help="Default: the first smtp listener of the configuration.")
@click.option("--add-headers", is_flag=True, help="Add Date, Message-ID and From where the message has none.")
@click.option("-v", "--verbose", is_flag=True, help="Show the dialogue.")
@click.argument("file", type=click.File("rb"), default="-")
@config_option
def command(
    reverse_path: str | None,
    forward_paths: tuple[str, ...],
    server: str | None,
    add_headers: bool,
    verbose: bool,
    file: Any,
) -> int:
    """Hand a message (FILE, or stdin) to a server over SMTP.

    The message goes out as it is, but for line ends, which become CRLF; nothing is added unless --add-headers says
    so. The recipients are those of -t, whatever the header section says.

    \b
    mta send -f me@here.example -t you@there.example message.eml
    echo "Subject: hello" | mta send -t you@there.example --add-headers -v
    mta send -f "<>" -t you@there.example --server mx.there.example:25 report.eml

    \b
    Exit: 0 when a recipient was accepted and none refused, 69 refused for good, 75 try again later.
    """
    config = read_config()
    address = _server_of(server, config)
    path = _null(reverse_path) if reverse_path is not None else f"{getpass.getuser()}@{config.hostname}"
    content = with_crlf(file.read())
    if add_headers:
        content = with_headers(content, path, SystemClock().now_ms(), f"{secrets.token_hex(12)}@{config.hostname}")
    return Delivery(config.hostname, verbose).hand_over(address, path, list(forward_paths), content)


class Delivery:
    """One session with one transaction: the SmtpClientHandler of this command."""

    def __init__(self, hostname: str, verbose: bool) -> None:
        self._hostname = hostname
        self._verbose = verbose
        self._dialogue = Dialogue(SystemClock())
        self._shown = 0
        self._result: tuple[str, Reply, list[Reply] | None] | None = None
        self._trouble: tuple[str, Reply | None, str] | None = None

    def hand_over(self, address: "str | tuple[str, int]", path: str, recipients: list[str], content: bytes) -> int:
        """Returns the exit code when something was accepted; raises MtaError when nothing was."""
        from mta_ext.smtp_client import SmtpClientSession

        self._envelope = (path, recipients, content)
        self._session = SmtpClientSession(self, self._hostname)
        with _connect(address) as sock:
            self._talk(sock)
        return self._exit_code(recipients)

    # SmtpClientHandler.

    def on_ready(self) -> None:
        path, recipients, content = self._envelope
        try:
            self._session.deliver(
                None,
                path,
                recipients,
                content,
                size=len(content),
                dotted=content.startswith(b".") or b"\n." in content,
                eight_bit=not content.isascii(),
            )
        except ValueError as e:
            raise UsageError(f"an address cannot be sent: {e}") from e

    def on_room(self) -> None:
        """One transaction is all there is."""

    def on_outcome(self, token: object, stage: str, reply: "Reply", recipients: "list[Reply] | None") -> None:
        self._result = (stage, reply, recipients)
        self._session.quit()

    def on_trouble(
        self, stage: str, reply: "Reply | None", reason: str, transactions: list[tuple[object, bool]]
    ) -> None:
        self._trouble = (stage, reply, reason)

    def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(REPLY_TIMEOUT)
        while True:
            while self._session.has_output:
                octets = self._session.take_output()
                self._dialogue.client(octets)
                self._show()
                sock.sendall(octets)
            if self._session.closing:
                return
            try:
                data = sock.recv(64 << 10)
            except TimeoutError:
                self._session.timed_out()
                continue
            except OSError:
                data = b""
            if not data:
                self._session.eof()
                continue
            self._dialogue.server(data)
            self._show()
            self._session.feed(data)

    def _show(self) -> None:
        """On stderr what was said since the last time; content is counted."""
        if self._verbose:
            for turn in self._dialogue.turns[self._shown :]:
                mark = "<" if turn.side == "server" else ">"
                click.echo(f"{mark} {turn.text or f'({turn.octets} octets of content)'}", err=True)
            self._shown = len(self._dialogue.turns)

    def _exit_code(self, recipients: list[str]) -> int:
        if self._result is None:
            stage, reply, reason = self._trouble or ("GREETING", None, "the connection ended")
            text = str(reply) if reply is not None else reason
            raise _refusal(f"not sent, at {stage}: {text}", reply)
        stage, reply, replies = self._result
        refused = [(r, a) for r, a in zip(recipients, replies or (), strict=False) if not a.positive]
        for recipient, answer in refused:
            click.echo(f"mta: {recipient}: {answer}", err=True)
        if not reply.positive:
            raise _refusal(f"not sent, at {stage}: {reply}", reply)
        click.echo(str(reply))
        if not refused:
            return os.EX_OK
        return os.EX_TEMPFAIL if all(a.transient for _, a in refused) else os.EX_UNAVAILABLE


def _refusal(text: str, reply: "Reply | None") -> MtaError:
    if reply is not None and reply.permanent:
        return UnavailableError(text)
    return TemporaryError(text)


def _connect(address: "str | tuple[str, int]") -> socket.socket:
    try:
        if not isinstance(address, str):
            return socket.create_connection(address, CONNECT_TIMEOUT)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(CONNECT_TIMEOUT)
        sock.connect(address)
        return sock
    except OSError as e:
        where = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
        hint = "" if isinstance(e, socket.gaierror) else "; is the server running? (`mta status`)"
        raise UnavailableError(f"{where}: {e.strerror or e}{hint}") from e


def _server_of(text: str | None, config: "Config") -> "str | tuple[str, int]":
    """(host, port), or the path of a unix socket. Raises UsageError."""
    if text is None:
        for listener in config.listener:
            if listener.protocol == "smtp" and (listener.path or listener.port):
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.host, listener.host)
                return listener.path or (host, listener.port)
        raise UsageError("the configuration has no smtp listener with a fixed port: say --server HOST:PORT")
    from mta.config.units import host_and_port

    if text.startswith("unix:"):
        return text.removeprefix("unix:")
    address = host_and_port(text, DEFAULT_PORT)
    if address is None:
        raise UsageError(f"--server {text!r} is not host:port")
    return address


def _null(path: str) -> str:
    return "" if path == "<>" else path


__all__ = ["Delivery", "command"]
