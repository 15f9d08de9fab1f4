"""A letter reaches its mailbox and is fetched by POP3; an operator lists, exports, imports and removes meanwhile."""

import json
import os
import poplib
import re
import smtplib
import socket
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.harness.mta_server import MtaServer, wait_until

MARK, SHEILA = "mark@minasi.example", "sheila@minasi.example"
LETTER = b"From: <alice@athena.example>\r\nSubject: a story\r\n\r\nOnce upon a time.\r\n.\r\n"
PASSWORD = "correct horse battery"


@pytest.fixture
def server(mta: Callable[..., MtaServer], tmp_path: Path) -> MtaServer:
    server = mta(
        local={"domains": ["minasi.example"]},
        store={"quota_messages": 30},
        listener=[
            {"address": "127.0.0.1:0"},
            {"protocol": "pop3", "address": "127.0.0.1:0", "dangerously_allow_plaintext_auth": True},
            {"protocol": "lmtp", "address": "127.0.0.1:0"},
            {"protocol": "lmtp", "address": f"unix:{tmp_path}/lmtp"},
        ],
    )
    for address in (MARK, SHEILA):
        done = server.mta("directory", "user", "add", address, "--password-stdin", stdin=f"{PASSWORD}\n".encode())
        assert done.returncode == 0, done.stderr
    return server


def address_of(server: MtaServer, protocol: str) -> tuple[str, int]:
    for row in server.status()["listeners"]:
        if row["protocol"] == protocol and not row["address"].startswith("unix"):
            host, _, port = row["address"].rpartition(":")
            return host, int(port)
    raise AssertionError(protocol)


def send(server: MtaServer, *recipients: str) -> None:
    with smtplib.SMTP(*address_of(server, "smtp")) as client:
        client.sendmail("alice@athena.example", recipients, LETTER)


def listed(server: MtaServer, address: str = MARK) -> list[dict]:
    return server.rows("mailbox", "list", address)


def pop3(server: MtaServer) -> poplib.POP3:
    client = poplib.POP3(*address_of(server, "pop3"))
    client.user(MARK)
    client.pass_(PASSWORD)
    return client


def test_a_letter_is_fetched_by_pop3_and_looked_after_by_an_operator(server: MtaServer, tmp_path: Path) -> None:
    send(server, MARK, SHEILA)
    wait_until(lambda: listed(server) and listed(server, SHEILA), "the letter is in both mailboxes")
    (row,) = listed(server)
    assert row["subject"] == "a story"
    client = pop3(server)
    assert client.stat() == (1, row["size"])
    assert client.uidl()[1] == [f"1 {row['unique_id']}".encode()]
    lines = client.retr(1)[1]
    assert lines[:2] == [b"Return-Path: <alice@athena.example>", b"Delivered-To: mark@minasi.example"]
    assert re.match(rb"Received: ", lines[2])
    assert b"\r\n".join(lines).endswith(LETTER[:-2])
    shown = server.mta("mailbox", "show", MARK, "1").stdout
    assert shown.encode() == b"\r\n".join(lines) + b"\r\n"
    locked = server.mta("mailbox", "remove", MARK, "1")
    assert (locked.returncode, "POP3 session" in locked.stderr) == (75, True)
    where = str(tmp_path / "exported")
    assert server.mta("mailbox", "export", MARK, "--maildir", where).returncode == 0
    client.dele(1)
    assert len(listed(server)) == 1, "a mark removes nothing"
    client.quit()
    assert listed(server) == []
    assert server.mta("mailbox", "import", MARK, "--maildir", where).returncode == 0
    assert listed(server) == [row], "as it was, with its unique-id"
    assert server.mta("mailbox", "remove", MARK, row["unique_id"]).returncode == 0
    assert listed(server) == []
    audit = server.mta("mailbox", "audit", "--json")
    assert audit.returncode == 0
    assert json.loads(audit.stdout)["delivered"] == 3


def test_a_large_message_is_imported_and_a_full_mailbox_is_told(server: MtaServer, tmp_path: Path) -> None:
    large = b"Subject: large\n\n" + (b"x" * 75 + b"\n") * 60_000
    (tmp_path / "m/cur").mkdir(parents=True)
    (tmp_path / "m/cur/1.x").write_bytes(large)
    for number in range(40):
        (tmp_path / f"m/cur/2.{number}").write_bytes(b"Subject: small\n\n%d\n" % number)
    done = server.mta("mailbox", "import", MARK, "--maildir", str(tmp_path / "m"))
    assert done.returncode == 74
    assert "import: 30 messages" in done.stdout
    assert "11 were refused" in done.stdout
    assert "its quota is 30" in done.stderr
    client = pop3(server)
    assert client.stat()[0] == 30
    client.quit()
    assert listed(server)[0]["size"] == len(large.replace(b"\n", b"\r\n"))
    with smtplib.LMTP(*address_of(server, "lmtp")) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            client.sendmail("alice@athena.example", [MARK], LETTER)
        assert refused.value.recipients[MARK][0] == 552
    usage = server.mta("mailbox", "usage").stdout
    assert re.search(rf"{MARK} +30 +\d+  30 messages", usage)


def test_lmtp_from_outside_by_tcp_and_by_a_unix_socket(server: MtaServer, tmp_path: Path) -> None:
    with smtplib.LMTP(*address_of(server, "lmtp")) as client:
        assert client.sendmail("alice@athena.example", [MARK, "nobody@minasi.example"], LETTER) == {
            "nobody@minasi.example": (550, b"5.1.1 no such mailbox here")
        }
    with smtplib.LMTP(f"{tmp_path}/lmtp") as client:
        client.sendmail("", [MARK], LETTER)
    assert len(listed(server)) == 2
    mode = (server.data / "lmtp.sock").stat().st_mode & 0o777
    assert mode == 0o600
    with socket.socket(socket.AF_UNIX) as internal:
        internal.connect(str(server.data / "lmtp.sock"))
        assert internal.recv(100).startswith(b"220 hermes.example LMTP")


def test_the_mailbox_of_somebody_who_was_removed_is_erased(server: MtaServer) -> None:
    send(server, MARK, SHEILA)
    wait_until(lambda: listed(server) and listed(server, SHEILA), "the letter is in both mailboxes")
    number = next(row["mailbox"] for row in server.rows("mailbox", "usage") if row["address"] == MARK)
    refused = server.mta("mailbox", "erase", number)
    assert (refused.returncode, f"belongs to {MARK}" in refused.stderr) == (65, True)
    client = pop3(server)
    assert server.mta("directory", "user", "remove", MARK).returncode == 0
    locked = server.mta("mailbox", "erase", "--orphans", "--yes")
    assert (locked.returncode, "POP3 session" in locked.stderr) == (75, True), locked
    assert b"\r\n".join(client.retr(1)[1]).endswith(LETTER[:-2])
    client.quit()
    (row,) = server.rows("mailbox", "erase", "--orphans", "--yes")
    assert (row["mailbox"], row["messages"], row["erased"]) == (number, 1, True)
    assert [row["address"] for row in server.rows("mailbox", "usage")] == [SHEILA]
    assert len(listed(server, SHEILA)) == 1
    assert server.mta("mailbox", "audit").returncode == 0


def test_a_store_that_is_killed_comes_back_with_everything(server: MtaServer) -> None:
    send(server, MARK)
    wait_until(lambda: listed(server), "the letter is there")
    before = listed(server)
    client = pop3(server)
    client.dele(1)  # and no QUIT: nothing of it may be gone
    pid = next(row["pid"] for row in server.status()["services"] if row["name"] == "store")
    os.kill(pid, SIGKILL)
    send(server, MARK)

    def both() -> bool:
        done = server.mta("mailbox", "list", MARK, "--json")
        return done.returncode == 0 and len(done.stdout.splitlines()) == 2

    wait_until(both, "the store is back, with the old letter and the new one")
    client.close()
    assert listed(server)[0] == before[0]
    assert server.mta("mailbox", "audit").returncode == 0
