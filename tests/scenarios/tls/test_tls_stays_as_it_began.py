"""No renegotiation, no early data, and no flood of records that hold nothing."""

import os
import socket
import ssl
import struct
from pathlib import Path

from tests.harness.hostile import Worker
from tests.harness.tls_wire import Records, SClient, TlsWire

#: Far more than a client that pads its traffic would send in a row.
FLOOD = 20_000
#: And what one may well send, as some split off an empty record in front of each full one.
A_FEW = 20


def test_a_client_cannot_renegotiate(server) -> None:
    client = SClient(server.port_of("relay"), "-tls1_2", "-CAfile", server.certificate.file)
    assert client.ask("NOOP").startswith("250 ")
    client.say("R")  # s_client renegotiates
    client.until("RENEGOTIATING")
    assert "no renegotiation" in client.close()


def test_nothing_is_taken_as_early_data(server, tmp_path: Path) -> None:
    """A session that would allow it says so in its ticket; and what is sent nevertheless is not read."""
    session, early = tmp_path / "session.pem", tmp_path / "early"
    early.write_bytes(b"EHLO early.example\r\nMAIL FROM:<early@athena.example>\r\n")
    first = SClient(server.port_of("relay"), "-tls1_3", "-sess_out", session)
    first.ask("quit")
    assert "Max Early Data: 0" in first.close()
    again = SClient(server.port_of("relay"), "-tls1_3", "-sess_in", session, "-early_data", early)
    assert again.resumed
    again.ask("quit")
    assert "Early data was not sent" in again.close()


def test_a_handshake_of_empty_records_ends(server) -> None:
    worker = Worker(server)
    before = worker.cpu_seconds()
    with socket.create_connection(("127.0.0.1", server.port_of("implicit")), 20) as sock:
        ended_by(sock, struct.pack("!BHH", 22, 0x0301, 0) * FLOOD)
    assert worker.cpu_seconds() - before < 1


def test_empty_records_under_tls_end_the_connection_and_a_few_do_not(server, tmp_path: Path) -> None:
    worker = Worker(server)
    before = worker.cpu_seconds()
    context = server.certificate.context()
    context.keylog_filename = str(tmp_path / "keys")
    with TlsWire(server.port_of("relay_implicit"), "implicit", context) as wire:
        assert isinstance(wire.sock, ssl.SSLSocket)
        records = Records(wire.sock, tmp_path / "keys", sent=1)  # EHLO
        with socket.socket(fileno=os.dup(wire.sock.fileno())) as below:
            below.settimeout(20)  # its descriptor does not block, as that which it is a copy of has a timeout
            for _ in range(50):
                below.sendall(b"".join(records.record(b"") for _ in range(A_FEW)) + records.record(b"NOOP\r\n"))
                assert wire.reply() == b"250 2.0.0 ok\r\n"
            ended_by(below, b"".join(records.record(b"") for _ in range(FLOOD)))
    assert worker.cpu_seconds() - before < 1


def ended_by(sock: socket.socket, octets: bytes) -> None:
    """The server closes while, or after, it is sent all this."""
    try:
        sock.sendall(octets)
        while sock.recv(65_536):
            pass
    except (BrokenPipeError, ConnectionResetError):
        pass
