"""TLS connections of clients that do with TLS what no library lets them do: end it anywhere, write records of nothing,
take a session to another place.

Owns: sockets, the records of one TLS 1.3 connection, and ``openssl s_client`` with its sessions in files. Never does:
assertions about a server.
"""

import re
import socket
import ssl
import struct
import subprocess
from pathlib import Path
from types import TracebackType

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

PATIENCE = 20.0
_REPLY = re.compile(rb"(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n")
_APPLICATION_DATA = 23


class TlsWire:
    """SMTP up to its EHLO: in the clear (``how`` "clear"), or under TLS ("starttls", "implicit")."""

    def __init__(self, port: int, how: str, context: ssl.SSLContext) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._heard = b""
        if how == "implicit":
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.reply()
        self.ask(b"EHLO client.example\r\n")
        if how == "starttls":
            self.ask(b"STARTTLS\r\n")
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
            self.ask(b"EHLO client.example\r\n")

    def __enter__(self) -> "TlsWire":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def say(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def reply(self) -> bytes:
        """The next whole reply; b"" at the end of the connection."""
        while not (found := _REPLY.match(self._heard)):
            octets = self.sock.recv(65_536)
            if not octets:
                return b""
            self._heard += octets
        self._heard = self._heard[found.end() :]
        return found[0]

    def ask(self, octets: bytes) -> bytes:
        self.say(octets)
        return self.reply()

    def farewell(self) -> bytes:
        """close_notify; what the server still says in answer to it, up to its own end. Raises OSError where there is no
        close_notify in its answer."""
        assert isinstance(self.sock, ssl.SSLSocket)
        self.sock = self.sock.unwrap()
        return self._rest()

    def half_close(self) -> bytes:
        """FIN, without a close_notify under TLS; the octets that still come. Raises OSError for a reset."""
        self.sock.shutdown(socket.SHUT_WR)
        return self._rest()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _rest(self) -> bytes:
        rest = b""
        while octets := self.sock.recv(65_536):
            rest += octets
        return rest


class Records:
    """Our direction of a TLS 1.3 connection (RFC 8446 §5), in which ``sent`` records have gone out since the handshake;
    ``log`` is the key log of the context that made it."""

    def __init__(self, wire: ssl.SSLSocket, log: Path, sent: int) -> None:
        name, version, bits = wire.cipher() or ("", "", 0)
        assert version == "TLSv1.3", version
        assert "GCM" in name, name
        found = re.search(r"^CLIENT_TRAFFIC_SECRET_0 \w+ (\w+)$", log.read_text(), re.MULTILINE)
        assert found is not None
        secret, algorithm = bytes.fromhex(found[1]), SHA384() if "SHA384" in name else SHA256()
        self._cipher = AESGCM(_expanded(secret, b"key", bits // 8, algorithm))
        self._iv = int.from_bytes(_expanded(secret, b"iv", 12, algorithm), "big")
        self._sequence = sent

    def record(self, content: bytes) -> bytes:
        head = struct.pack("!BHH", _APPLICATION_DATA, 0x0303, len(content) + 1 + 16)
        nonce = (self._iv ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return head + self._cipher.encrypt(nonce, content + bytes([_APPLICATION_DATA]), head)


def _expanded(secret: bytes, label: bytes, length: int, algorithm: HashAlgorithm) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1)."""
    name = b"tls13 " + label
    info = struct.pack("!HB", length, len(name)) + name + b"\0"
    return HKDFExpand(algorithm, length, info).derive(secret)


class SClient:
    """``openssl s_client`` in an SMTP session under STARTTLS, EHLO said. ``options``: more of its command line."""

    def __init__(self, port: int, *options: str | Path) -> None:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-starttls", "smtp", "-crlf", *options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.said = ""
        self.say("EHLO client.example")
        self.until(r"greets client\.example\n(?:250-[^\n]*\n)*250 [^\n]*\n")

    @property
    def resumed(self) -> bool:
        return re.search(r"^Reused, ", self.said, re.MULTILINE) is not None

    def say(self, line: str) -> None:
        """One that begins with Q or R is for s_client itself."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def ask(self, command: str) -> str:
        """A line, and the last line of its reply."""
        at = len(self.said)
        self.say(command)
        return self.until(r"^\d{3} [^\n]*\n", at)

    def until(self, pattern: str, at: int = 0) -> str:
        """What matches in its output, behind this place."""
        assert self._process.stdout is not None
        while not (found := re.compile(pattern, re.MULTILINE).search(self.said, at)):
            octets = self._process.stdout.read1(65_536)  # type: ignore[attr-defined]
            assert octets, f"it has ended: {self.said}"
            self.said += octets.decode("latin-1").replace("\r\n", "\n")
        return found[0]

    def close(self) -> str:
        """All that it printed."""
        rest, _ = self._process.communicate(timeout=PATIENCE)
        self.said += rest.decode("latin-1").replace("\r\n", "\n")
        return self.said
