"""The admin API from a command: HTTP over the admin socket, by the standard library alone.

Owns: one connection per request, problems turned into errors. Never does: start, guess or retry.
"""

import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from mta.errors import MtaError, NotAllowedError, TemporaryError, UnavailableError

if TYPE_CHECKING:
    from mta.config import Config

Row = dict[str, Any]

CONNECT_TIMEOUT = 5.0
#: A restart of a service waits for its drain; nothing takes longer than that.
ANSWER_TIMEOUT = 120.0


class NoServerError(UnavailableError):
    """Nobody listens on the admin socket."""


class ProblemError(MtaError):
    """The server answered with a problem; its text and exit code."""

    def __init__(self, body: Row) -> None:
        super().__init__(str(body.get("detail") or body.get("title") or "the server refused without a reason"))
        self.exit_code = int(body.get("exit", os.EX_SOFTWARE))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(CONNECT_TIMEOUT)
        self.sock.connect(self._path)


class AdminClient:
    """What the running server answers. Raises NoServerError where nobody listens, ProblemError for refusals."""

    def __init__(self, config: "Config") -> None:
        self._address = config.admin.address
        self._token_file = config.admin.token_file

    def probe(self) -> None:
        """Raises NoServerError, or NotAllowedError when the socket is not for this user."""
        self._connect().close()

    def get(self, path: str, query: Row | None = None) -> Iterator[Row]:
        """The rows of an answer."""
        return self._rows("GET", path + (f"?{urlencode(query)}" if query else ""), None)

    def post(self, path: str, body: Row | None = None) -> Iterator[Row]:
        return self._rows("POST", path, msgspec.json.encode(body or {}))

    def octets(self, path: str) -> Iterator[bytes]:
        with self._answering(), self._send("GET", path, None) as response:
            while chunk := response.read(64 << 10):
                yield chunk

    # The verbs of the queue (source.Queue).

    def listed(self, filters: Row) -> Iterator[Row]:
        return self.get("/api/v1/queue", filters)

    def show(self, queue_id: str) -> Row:
        return next(self.get(f"/api/v1/queue/{quote(queue_id, safe='')}"))

    def content(self, queue_id: str) -> Iterator[bytes]:
        return self.octets(f"/api/v1/queue/{quote(queue_id, safe='')}/content")

    def stats(self) -> Iterator[Row]:
        return self.get("/api/v1/queue/stats")

    def edit(self, verb: str, args: Row) -> Iterator[Row]:
        return self.post(f"/api/v1/queue/{verb}", args)

    def why(self, queue_id: str) -> Iterator[Row]:
        return self.get(f"/api/v1/why/{quote(queue_id, safe='')}")

    def audit(self) -> Row:
        return next(self.get("/api/v1/audit"))

    def _rows(self, method: str, path: str, body: bytes | None) -> Iterator[Row]:
        with self._answering(), self._send(method, path, body) as response:
            for line in _lines(response):
                row = msgspec.json.decode(line, type=dict[str, Any])
                if "problem" in row:
                    raise ProblemError(row["problem"])
                yield row

    def _send(self, method: str, path: str, body: bytes | None) -> http.client.HTTPResponse:
        connection = self._connect()
        connection.request(method, path, body, self._headers())
        response = connection.getresponse()
        if response.status < 400:
            return response
        raise ProblemError(_problem(response))

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """A server that goes away or is silent, at whatever row, is one line."""
        try:
            yield
        except (TimeoutError, http.client.HTTPException, ConnectionError, msgspec.DecodeError) as e:
            reason = "its answer breaks off" if isinstance(e, http.client.IncompleteRead | msgspec.DecodeError) else e
            raise TemporaryError(f"the server at {self._address} does not answer ({reason}); try again") from e

    def _connect(self) -> http.client.HTTPConnection:
        address = self._address
        connection = (
            _UnixConnection(address.path)
            if address.path
            else http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT)
        )
        try:
            connection.connect()
        except OSError as e:
            connection.close()
            raise self._connect_error(e) from e
        connection.sock.settimeout(ANSWER_TIMEOUT)
        return connection

    def _connect_error(self, e: OSError) -> MtaError:
        if isinstance(e, PermissionError):
            return NotAllowedError(f"{self._address}: not allowed; run as root or as the server's user")
        if isinstance(e, FileNotFoundError | NotADirectoryError | ConnectionRefusedError):
            return NoServerError(f"no server answers at {self._address}: start it with `mta run`")
        return UnavailableError(f"{self._address}: {e.strerror or e}")

    def _headers(self) -> dict[str, str]:
        headers = {"Connection": "close"}
        if self._address.path or self._token_file is None:
            return headers
        try:
            return headers | {"Authorization": f"Bearer {Path(self._token_file).read_text().strip()}"}
        except OSError as e:
            raise NotAllowedError(f"admin.token_file: {self._token_file} cannot be read: {e.strerror}") from e


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Raises IncompleteRead where the answer breaks off; iterating over a response would take that for its end."""
    rest = b""
    while piece := response.read1(64 << 10):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _problem(response: http.client.HTTPResponse) -> Row:
    body = response.read(64 << 10)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"title": f"the server answered {response.status} {response.reason}", "exit": os.EX_PROTOCOL}
