"""``mta send``: hands one message to a server over SMTP.

Owns: reading the message, the blocking socket around the SMTP client session, what the outcome means for the exit
code. Never does: queue or retry.
"""

import getpass
import os
import socket
from typing import TYPE_CHECKING, Any

import click

from mta.cli.options import config_option, read_config
from mta.errors import DataError, MtaError, TemporaryError, UnavailableError, UsageError

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
@click.option("-v", "--verbose", is_flag=True, help="Show the dialogue.")
@click.argument("file", type=click.File("rb"), default="-")
@config_option
def command(
    reverse_path: str | None, forward_paths: tuple[str, ...], server: str | None, verbose: bool, file: Any
) -> int:
    """Hand a message (FILE, or stdin) to a server over SMTP.

    \b
    mta send -f me@here.example -t you@there.example message.eml
    echo "Subject: hello" | mta send -t you@there.example -v --server 127.0.0.1:2525
    """
    config = read_config()
    address = _server_of(server, config)
    path = _null(reverse_path) if reverse_path is not None else f"{getpass.getuser()}@{config.hostname}"
    content = _with_crlf(file.read())
    return Delivery(config.hostname, verbose).hand_over(address, path, list(forward_paths), content)


class Delivery:
    """One session with one transaction: the SmtpClientHandler of this command."""

    def __init__(self, hostname: str, verbose: bool) -> None:
        self._hostname = hostname
        self._verbose = verbose
        self._in_content = False
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
                self._show("> ", octets)
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
            self._show("< ", data)
            self._session.feed(data)

    def _show(self, mark: str, octets: bytes) -> None:
        """The dialogue on stderr: content, which is what we say after 354, is counted and not shown."""
        if not self._verbose:
            return
        if mark == "> " and self._in_content:
            click.echo(f"> ({len(octets)} octets of content)", err=True)
            return
        self._in_content = mark == "< " and b"\r\n354" in b"\r\n" + octets
        for line in octets.decode("utf-8", "replace").splitlines():
            click.echo(f"{mark}{line}", err=True)

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
        raise UnavailableError(f"{where}: {e.strerror or e}; is the server running? (`mta status`)") from e


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


def _with_crlf(content: bytes) -> bytes:
    """Lines of a text file end in LF; those of a message in CRLF. Raises DataError for an empty message."""
    if not content:
        raise DataError("the message is empty")
    return b"\r\n".join(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))


__all__ = ["Delivery", "command"]
