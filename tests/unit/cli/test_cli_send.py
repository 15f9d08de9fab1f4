"""``mta send`` against a scripted server on loopback."""

import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mta.cli import main

pytest.importorskip("mta_ext.smtp_client")

RESERVED = {"no@b.example": "550 5.1.1 unknown", "later@b.example": "450 4.2.0 later"}


class Script(socketserver.StreamRequestHandler):
    """An SMTP server that takes everything but RESERVED, and keeps what it got."""

    def handle(self) -> None:
        self.say("220 script.example ESMTP")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.say("250-script.example\r\n250 PIPELINING")
            elif verb == b"RCPT":
                path = line.decode().partition("<")[2].partition(">")[0]
                self.say(RESERVED.get(path, "250 2.1.5 ok"))
            elif verb == b"DATA":
                self.say("354 go on")
                content = b""
                while (line := self.rfile.readline()) != b".\r\n":
                    content += line
                self.server.contents.append(content)  # type: ignore[attr-defined]
                self.say("250 2.0.0 06H0PNA5B4000 queued")
            else:
                self.say("221 2.0.0 bye" if verb == b"QUIT" else "250 2.1.0 ok")

    def say(self, reply: str) -> None:
        self.wfile.write(reply.encode() + b"\r\n")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Script)
        self.contents: list[bytes] = []
        self.address = f"127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MTA_CONFIG", raising=False)
    file = tmp_path / "letter"
    file.write_bytes(b"Subject: hi\n\n.dot first\nend")
    return file


def send(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["send", *args])
    out, err = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, out, err


def test_a_message_goes_out_with_crlf_and_dots_and_the_reply_is_shown(
    capsys: pytest.CaptureFixture[str], server: Server, letter: Path
) -> None:
    code, out, err = send(capsys, "-f", "<>", "-t", "a@b.example", "--server", server.address, str(letter))
    assert (code, out, err) == (0, "250 2.0.0 06H0PNA5B4000 queued\n", "")
    assert server.contents == [b"Subject: hi\r\n\r\n..dot first\r\nend\r\n"]


def test_the_dialogue_is_shown_on_request_with_the_content_counted(
    capsys: pytest.CaptureFixture[str], server: Server, letter: Path
) -> None:
    _, _, err = send(capsys, "-v", "-f", "a@b.example", "-t", "c@d.example", "--server", server.address, str(letter))
    lines = err.splitlines()
    assert lines[0] == "< 220 script.example ESMTP"
    assert "> RCPT TO:<c@d.example>" in lines
    assert lines[-5:] == [
        "> (33 octets of content)", "> .", "< 250 2.0.0 06H0PNA5B4000 queued", "> QUIT", "< 221 2.0.0 bye",
    ]  # fmt: skip
    assert "Subject: hi" not in err


def test_header_fields_are_added_only_when_asked(
    capsys: pytest.CaptureFixture[str], server: Server, letter: Path
) -> None:
    args = ("-f", "a@b.example", "-t", "c@d.example", "--server", server.address, str(letter))
    send(capsys, *args)
    send(capsys, "--add-headers", *args)
    plain, added = server.contents
    assert plain.startswith(b"Subject: hi\r\n")
    fields = added.partition(b"Subject: hi")[0].decode().splitlines()
    assert [field.split(": ")[0] for field in fields] == ["Date", "Message-ID", "From"]
    assert fields[2] == "From: <a@b.example>"


@pytest.mark.parametrize(
    ("recipients", "code"),
    [
        (["no@b.example"], os.EX_UNAVAILABLE),
        (["later@b.example"], os.EX_TEMPFAIL),
        (["a@b.example", "no@b.example"], os.EX_UNAVAILABLE),
        (["a@b.example", "later@b.example"], os.EX_TEMPFAIL),
    ],
)
def test_refused_recipients_are_named_and_decide_the_exit_code(
    capsys: pytest.CaptureFixture[str], server: Server, letter: Path, recipients: list[str], code: int
) -> None:
    to = [word for recipient in recipients for word in ("-t", recipient)]
    got, _, err = send(capsys, "-f", "me@b.example", *to, "--server", server.address, str(letter))
    assert got == code
    assert RESERVED[recipients[-1]] in err


def test_no_server_is_69_and_an_empty_message_65(
    capsys: pytest.CaptureFixture[str], server: Server, letter: Path
) -> None:
    server.shutdown()  # the polling thread would keep the socket alive for a moment
    server.server_close()
    code, _, err = send(capsys, "-t", "a@b.example", "--server", server.address, str(letter))
    assert (code, "is the server running?" in err) == (os.EX_UNAVAILABLE, True)
    letter.write_bytes(b"")
    code, _, err = send(capsys, "-t", "a@b.example", "--server", server.address, str(letter))
    assert (code, "empty" in err) == (os.EX_DATAERR, True)
