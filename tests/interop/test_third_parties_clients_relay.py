"""swaks, Postfix's smtp-source, Python's smtplib and curl hand real messages to ``mta run``, and they arrive."""

import smtplib
import subprocess
from collections import Counter
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.harness.mta_server import MESSAGE, MtaServer
from tests.harness.sinks import peer_program
from tests.harness.stories import route


@pytest.fixture
def served(mta, sink):
    remote = sink()
    return mta(workers=2, route=[route("*", remote.port)]), remote


def run(*command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60)


def arrived(server: MtaServer, remote, count: int) -> list[bytes]:
    """Contents, once every one is delivered and off the books."""
    server.wait_for_events(count, "Delivery")
    server.wait_for_empty_queue()
    assert remote.violations == []
    return [message.content for message in remote.received]


def test_swaks(served, tmp_path: Path) -> None:
    server, remote = served
    (tmp_path / "attached.bin").write_bytes(bytes(range(256)) * 40)
    done = run(
        peer_program("swaks", "swaks"), "--server", "127.0.0.1", "--port", str(server.port),
        "--helo", "swaks.example", "--from", "alice@athena.example", "--to", "bob@arlington.example,cid@minasi.example",
        "--header", "Subject: from swaks", "--body", ".dot\nand an umlaut: ü\n.\nend",
        "--attach", f"@{tmp_path / 'attached.bin'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    contents = arrived(server, remote, 2)
    assert len(contents) == 2
    assert {r for message in remote.received for r in message.recipients} == {
        "bob@arlington.example",
        "cid@minasi.example",
    }
    assert all(content.startswith(b"Received: from swaks.example ") for content in contents)
    assert b"\r\n.dot\r\n" in contents[0]
    assert b"\r\n.\r\nend" in contents[0]


def test_swaks_with_pipelining_and_without_esmtp(served) -> None:
    server, remote = served
    swaks = peer_program("swaks", "swaks")
    common = ["--server", "127.0.0.1", "--port", str(server.port), "--from", "a@athena.example", "--silent", "2"]
    assert run(swaks, *common, "--to", "one@arlington.example", "--pipeline").returncode == 0
    assert run(swaks, *common, "--to", "two@arlington.example", "--protocol", "SMTP").returncode == 0
    arrived(server, remote, 2)
    protocols = {event["recipient"]: event["reception_protocol"] for event in server.events("Reception")}
    assert protocols == {"one@arlington.example": "ESMTP", "two@arlington.example": "SMTP"}


def test_swaks_hears_a_refusal(mta) -> None:
    server = mta(relay={"networks": []})
    done = run(
        peer_program("swaks", "swaks"), "--server", "127.0.0.1", "--port", str(server.port),
        "--from", "alice@athena.example", "--to", "bob@arlington.example",
    )  # fmt: skip
    assert done.returncode == 24  # swaks: "no valid recipients"
    assert b"550 5.7.1" in done.stdout


@pytest.mark.parametrize(
    ("options", "messages", "recipients"),
    [
        (["-s", "20", "-m", "400", "-l", "4096"], 400, 1),
        (["-s", "5", "-m", "50", "-r", "7"], 50, 7),
        (["-s", "4", "-m", "40", "-d"], 40, 1),
        (["-s", "2", "-m", "6", "-l", "1500000"], 6, 1),
    ],
    ids=["20 sessions", "7 recipients", "one connection a session", "1.5 MB"],
)
def test_smtp_source(served, options: list[str], messages: int, recipients: int) -> None:
    server, remote = served
    source = peer_program("smtp-source", "postfix")
    to = ["-f", "alice@athena.example", "-t", "bob@arlington.example", f"inet:127.0.0.1:{server.port}"]
    done = run(source, *options, *to)
    assert done.returncode == 0, done.stderr
    arrived(server, remote, messages * recipients)
    books = server.audit()
    assert books["accepted"] == books["delivered"] == messages * recipients
    assert len(remote.received) == messages
    assert all(len(message.recipients) == recipients for message in remote.received)


def test_smtp_source_over_smtp_sink(mta, smtp_sink) -> None:
    """Postfix on both sides."""
    sink = smtp_sink()
    server = mta(workers=2, route=[route("*", sink.port)])
    done = run(
        peer_program("smtp-source", "postfix"), "-s", "10", "-m", "200", "-N",
        "-f", "alice@athena.example", "-t", "bob@arlington.example", f"inet:127.0.0.1:{server.port}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    server.wait_for_events(200, "Delivery")
    assert len(sink.dumps()) == 200
    assert len(sink.by_recipient()) == 200  # -N numbers the recipients


def test_smtplib(served) -> None:
    server, remote = served
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "alice@athena.example", "bob@arlington.example", "Grüße"
    message.set_content("Zeile\n.\n..zwei\nSchluß ohne Zeilenende", cte="8bit")
    message.add_attachment(bytes(range(256)) * 100, maintype="application", subtype="octet-stream", filename="all.bin")
    with smtplib.SMTP("127.0.0.1", server.port, "smtplib.example") as session:
        assert session.send_message(message) == {}
        assert session.sendmail("alice@athena.example", ["cid@arlington.example"], MESSAGE) == {}
        assert session.noop()[0] == 250
        assert session.rset()[0] == 250
    contents = arrived(server, remote, 2)
    text = next(content for content in contents if b"all.bin" in content).decode()
    assert "\r\nZeile\r\n.\r\n..zwei\r\nSchluß ohne Zeilenende\r\n" in text


def test_smtplib_is_told_which_recipients_were_refused(mta, sink) -> None:
    remote = sink()
    server = mta(route=[route("*", remote.port)], relay={"networks": [], "domains": ["customer.example"]})
    with smtplib.SMTP("127.0.0.1", server.port) as session:
        refused = session.sendmail("alice@athena.example", ["x@customer.example", "x@arlington.example"], MESSAGE)
    assert refused == {"x@arlington.example": (550, b"5.7.1 relaying denied")}
    assert remote.wait_for(1)[0].recipients == ["x@customer.example"]


@pytest.mark.parametrize("size", [2_000, 3_000_000])
def test_curl(served, tmp_path: Path, size: int) -> None:
    server, remote = served
    content = MESSAGE + b".line\r\n.\r\n" + (b"x" * 70 + b"\r\n") * (size // 72) + b"no line end"
    (tmp_path / "message.eml").write_bytes(content)
    done = run(
        peer_program("curl", "curl"), "--silent", "--show-error", f"smtp://127.0.0.1:{server.port}/curl.example",
        "--mail-from", "alice@athena.example",
        "--mail-rcpt", "bob@arlington.example", "--mail-rcpt", "cid@arlington.example",
        "--upload-file", str(tmp_path / "message.eml"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [relayed] = arrived(server, remote, 2)
    assert relayed.startswith(b"Received: from curl.example ")
    assert relayed.endswith(content + b"\r\n")
    assert Counter(remote.received[0].recipients) == Counter(["bob@arlington.example", "cid@arlington.example"])
