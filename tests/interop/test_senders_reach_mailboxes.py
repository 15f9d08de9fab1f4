"""msmtp, swaks and Postfix's smtp-source send to people whom the directory knows, by SMTP and LMTP; who is unknown is
refused at once; ldapsearch finds them in the address book."""

import subprocess
from pathlib import Path

import pytest

from tests.harness.mail_house import DOMAIN, MARK, ZOE, MailHouse, below_trace
from tests.harness.sinks import peer_program

TEXT = b"From: <alice@athena.example>\nTo: <mark@minasi.example>\nSubject: story\n\n.dot\nGr\xc3\xbc\xc3\x9fe\n.\nend\n"
WIRE = TEXT.replace(b"\n", b"\r\n")
NOBODY = f"nobody@{DOMAIN}"


def run(*command: str | Path, stdin: bytes = b"", home: Path | None = None) -> "subprocess.CompletedProcess[bytes]":
    words = [str(word) for word in command]
    environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(home or "/nonexistent"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(words, input=stdin, capture_output=True, timeout=60, env=environ)


@pytest.fixture
def house(one_house: MailHouse) -> MailHouse:
    return one_house.empty()


def arrived(house: MailHouse, count: int, address: str = MARK) -> list[bytes]:
    house.wait_for_events(count, "Delivery", recipient=address)
    house.wait_for_empty_queue()
    return house.mailbox(address)


def msmtp(house: MailHouse, tmp_path: Path, *recipients: str) -> "subprocess.CompletedProcess[bytes]":
    rc = tmp_path / "msmtprc"
    rc.write_text(
        f"account default\nhost 127.0.0.1\nport {house.port}\nfrom alice@athena.example\ntls off\n"
        "set_date_header off\nset_msgid_header off\n"
    )
    rc.chmod(0o600)
    return run(peer_program("msmtp", "msmtp"), f"--file={rc}", *recipients, stdin=TEXT, home=tmp_path)


def test_msmtp(house: MailHouse, tmp_path: Path) -> None:
    done = msmtp(house, tmp_path, MARK, ZOE)
    assert done.returncode == 0, done.stderr
    for address in (MARK, ZOE):
        [message] = arrived(house, 1, address)
        assert below_trace(message) == WIRE
        assert f"Delivered-To: {address}".encode() in message.split(b"\r\n")[1]


def test_msmtp_hears_that_nobody_is_there(house: MailHouse, tmp_path: Path) -> None:
    before = house.audit()
    done = msmtp(house, tmp_path, NOBODY)
    assert done.returncode == 65, done.stderr  # sysexits: the recipient was not accepted
    assert b"550 5.1.1" in done.stderr
    assert house.audit() == before


def swaks(port: int, *options: str) -> "subprocess.CompletedProcess[bytes]":
    common = ["--server", "127.0.0.1", "--port", str(port), "--from", "alice@athena.example", "--data", "-"]
    return run(peer_program("swaks", "swaks"), *common, *options, stdin=TEXT.removesuffix(b"\n"))  # it adds a line end


def test_swaks_by_smtp(house: MailHouse) -> None:
    done = swaks(house.port, "--to", f"{MARK},{ZOE}")
    assert done.returncode == 0, done.stdout
    assert below_trace(arrived(house, 1)[0]) == WIRE


def test_swaks_by_lmtp(house: MailHouse) -> None:
    """It is there when LMTP says so."""
    done = swaks(house.lmtp_port, "--protocol", "LMTP", "--to", f"{MARK},{ZOE}")
    assert done.returncode == 0, done.stdout
    for address in (MARK, ZOE):
        [message] = house.mailbox(address)
        assert message == b"Return-Path: <alice@athena.example>\r\nDelivered-To: %s\r\n" % address.encode() + WIRE


@pytest.mark.parametrize("protocol", ["ESMTP", "LMTP"])
def test_swaks_hears_that_nobody_is_there(house: MailHouse, protocol: str) -> None:
    port = house.port if protocol == "ESMTP" else house.lmtp_port
    done = swaks(port, "--protocol", protocol, "--to", NOBODY)
    assert done.returncode == 24  # swaks: "no valid recipients"
    assert b"550 5.1.1" in done.stdout


def test_one_of_two_is_known(house: MailHouse) -> None:
    with house.connect() as session:
        refused = session.sendmail("alice@athena.example", [MARK, NOBODY], WIRE)
    assert set(refused) == {NOBODY}
    assert (refused[NOBODY][0], refused[NOBODY][1][:6]) == (550, b"5.1.1 ")
    assert len(arrived(house, 1)) == 1


@pytest.mark.parametrize(
    ("options", "messages"),
    [(["-s", "10", "-m", "200", "-l", "4096"], 200), (["-s", "2", "-m", "6", "-l", "1500000"], 6)],
    ids=["10 sessions", "1.5 MB"],
)
@pytest.mark.parametrize("protocol", ["smtp", "lmtp", "internal"])
def test_smtp_source(house: MailHouse, protocol: str, options: list[str], messages: int) -> None:
    """``internal``: the socket on which the store takes mail from our own workers."""
    lmtp = [] if protocol == "smtp" else ["-L"]
    ports = {"smtp": f"inet:127.0.0.1:{house.port}", "lmtp": f"inet:127.0.0.1:{house.lmtp_port}"}
    to = ports.get(protocol, f"unix:{house.data / 'lmtp.sock'}")
    done = run(peer_program("smtp-source", "postfix"), *lmtp, *options, "-d", "-f", "a@athena.example", "-t", MARK, to)
    assert done.returncode == 0, done.stderr
    if protocol == "smtp":
        house.wait_for_events(messages, "Delivery")
    assert house.count() == messages


def test_ldapsearch_finds_a_person_who_then_gets_mail(house: MailHouse, tmp_path: Path) -> None:
    house.add_person(f"ann@{DOMAIN}", "secret", "--name", "Ann Räuber")
    where = f"ldap://127.0.0.1:{house.ports('ldap')[0]}"
    search = [peer_program("ldapsearch", "ldap-utils"), "-x", "-LLL", "-o", "ldif-wrap=no", "-H", where]
    root = run(*search, "-s", "base", "-b", "", "namingContexts", home=tmp_path)
    [base] = [line.split(": ")[1] for line in root.stdout.decode().splitlines() if line.startswith("namingContexts: ")]
    found = run(*search, "-b", base, "(|(cn=ann*)(mail=ann*))", "mail", home=tmp_path)
    assert found.returncode == 0, found.stderr
    [address] = [line.split(": ")[1] for line in found.stdout.decode().splitlines() if line.startswith("mail: ")]
    house.people[address] = "secret"
    assert msmtp(house, tmp_path, address).returncode == 0
    assert below_trace(arrived(house, 1, address)[0]) == WIRE
