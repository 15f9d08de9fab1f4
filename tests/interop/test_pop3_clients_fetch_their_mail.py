"""fetchmail, mpop and getmail6 fetch from a mailbox: in clear, after STLS and over TLS; they keep or delete;
each message comes out octet by octet, once."""

from pathlib import Path

import pytest

from tests.harness.mail_house import MARK, PEOPLE, MailHouse
from tests.harness.pop3_clients import Account, Fetched, Tls, fetchmail, getmail, mpop

HEAD = b"From: <alice@athena.example>\r\nTo: <mark@minasi.example>\r\nSubject: %s\r\n\r\n"
#: What these clients must not break. Their files end lines with LF, so a bare LF would not be told apart.
CONTENTS = [
    HEAD % b"plain" + b"Once upon a time.\r\n",
    HEAD % b"dots" + b".\r\n..\r\n.dot\r\n\r\n.\r\n",
    HEAD % b"From" + b"From here to there\r\n>From there\r\n",
    HEAD % b"8 bits" + "Grüße aus Köln\r\n".encode() + bytes(range(128, 256)) + b"\r\n",
    HEAD % b"long line" + b"x" * 5_000 + b"\r\n",
    HEAD % b"large" + (b"y" * 70 + b"\r\n") * 20_000,
]
TLS: list[Tls] = ["none", "starttls", "implicit"]


@pytest.fixture
def house(one_house: MailHouse) -> MailHouse:
    one_house.empty().fill(CONTENTS)
    return one_house


def account(house: MailHouse, directory: Path, tls: Tls = "none", password: str = PEOPLE[MARK]) -> Account:
    port = {"none": house.pop3_port, "starttls": house.pop3_tls_port, "implicit": house.pop3s_port}[tls]
    ca = None if tls == "none" else house.certificate.file
    return Account(directory / "client", port, MARK, password, tls, ca)


def whole(house: MailHouse, fetched: Fetched) -> None:
    """The client has what the mailbox gives, and that is what was sent."""
    kept = house.mailbox()
    assert [message.partition(b"From: ")[2] for message in kept] == [c.removeprefix(b"From: ") for c in CONTENTS]
    assert sorted(fetched.messages) == sorted(kept)


@pytest.mark.parametrize("tls", TLS)
def test_fetchmail_keeps_and_sees_each_message_once(house: MailHouse, tmp_path: Path, tls: Tls) -> None:
    mine = account(house, tmp_path, tls)
    fetched = fetchmail(mine, keep=True)
    assert fetched.code == 0, fetched.said
    whole(house, fetched)
    again = fetchmail(mine, keep=True)
    assert again.code == 1, again.said  # fetchmail: no mail
    assert len(again.messages) == len(CONTENTS)
    house.fill([HEAD % b"new" + b"x\r\n"])
    assert fetchmail(mine, keep=True).code == 0
    assert len(fetchmail(mine, keep=True).messages) == len(CONTENTS) + 1


@pytest.mark.parametrize("uidl", [True, False], ids=["by unique-id", "by number"])
@pytest.mark.parametrize("tls", TLS)
def test_fetchmail_deletes(house: MailHouse, tmp_path: Path, tls: Tls, uidl: bool) -> None:
    kept = house.mailbox()
    fetched = fetchmail(account(house, tmp_path, tls), keep=False, uidl=uidl)
    assert fetched.code == 0, fetched.said
    assert sorted(fetched.messages) == sorted(kept)
    assert house.mailbox() == []


@pytest.mark.parametrize("tls", TLS)
def test_mpop_keeps_then_deletes(house: MailHouse, tmp_path: Path, tls: Tls) -> None:
    mine = account(house, tmp_path, tls)
    auth = "user" if tls == "none" else "on"
    fetched = mpop(mine, keep=True, auth=auth)
    assert fetched.code == 0, fetched.said
    whole(house, fetched)
    assert mpop(mine, keep=False, auth=auth).code == 0
    assert house.mailbox() == []
    assert len(mpop(mine, keep=False, auth=auth).messages) == len(CONTENTS), "each message came once"


@pytest.mark.parametrize("auth", ["user", "plain", "login", "scram-sha-256"])
def test_mpop_logs_in_by_every_mechanism(house: MailHouse, tmp_path: Path, auth: str) -> None:
    fetched = mpop(account(house, tmp_path, "starttls"), keep=True, auth=auth)
    assert fetched.code == 0, fetched.said
    assert len(fetched.messages) == len(CONTENTS)


def test_mpop_by_scram_needs_no_tls(house: MailHouse, tmp_path: Path) -> None:
    fetched = mpop(account(house, tmp_path), keep=True, auth="scram-sha-256")
    assert fetched.code == 0, fetched.said
    assert len(fetched.messages) == len(CONTENTS)


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_getmail_keeps_then_deletes(house: MailHouse, tmp_path: Path, tls: Tls) -> None:
    mine = account(house, tmp_path, tls)
    fetched = getmail(mine, keep=True)
    assert fetched.code == 0, fetched.said
    whole(house, fetched)
    assert len(getmail(mine, keep=True).messages) == len(CONTENTS), "each message came once"
    assert getmail(mine, keep=False).code == 0
    assert house.mailbox() == []


@pytest.mark.parametrize(("client", "code"), [(fetchmail, 3), (mpop, 77), (getmail, 0)])
def test_a_wrong_password_is_told(house: MailHouse, tmp_path: Path, client, code: int) -> None:
    """fetchmail: 3, authentication failed; mpop: 77, no permission. getmail only says so."""
    fetched = client(account(house, tmp_path, "implicit", password="wrong"), keep=False)
    assert fetched.messages == []
    assert fetched.code == code or client is getmail, fetched.said
    assert "[AUTH]" in fetched.said or "credential" in fetched.said.lower(), fetched.said
    assert len(house.mailbox()) == len(CONTENTS)


@pytest.mark.parametrize("client", [fetchmail, mpop])
def test_without_tls_no_password_is_taken_where_tls_is_required(house: MailHouse, tmp_path: Path, client) -> None:
    mine = account(house, tmp_path)
    mine.port = house.pop3_tls_port
    fetched = client(mine, keep=False, **({"auth": "user"} if client is mpop else {}))
    assert fetched.code != 0
    assert fetched.messages == []
    assert len(house.mailbox()) == len(CONTENTS)


def test_a_client_that_does_not_trust_the_certificate_stays_away(house: MailHouse, tmp_path: Path) -> None:
    mine = account(house, tmp_path, "implicit")
    mine.ca = None
    fetched = mpop(mine, keep=False)
    assert fetched.code != 0
    assert fetched.messages == []
