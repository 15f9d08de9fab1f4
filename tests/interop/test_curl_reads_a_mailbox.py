"""curl lists, fetches and deletes over pop3:// (in clear, with STLS) and pop3s://, and logs in by whatever it has."""

from pathlib import Path

import pytest

from tests.harness.mail_house import MARK, PEOPLE, MailHouse
from tests.harness.pop3_clients import Account, Tls, curl

CONTENTS = [b"Subject: %d\r\n\r\n.line\r\n" % n + b"x" * n + b"\r\n" for n in range(1, 4)]
REFUSED = 67  # curl: the login was denied
WEIRD = 8  # curl: the server said -ERR


@pytest.fixture
def house(one_house: MailHouse) -> MailHouse:
    one_house.empty().fill(CONTENTS)
    return one_house


@pytest.fixture(params=["none", "starttls", "implicit"])
def mine(request: pytest.FixtureRequest, house: MailHouse, tmp_path: Path) -> Account:
    tls: Tls = request.param
    port = {"none": house.pop3_port, "starttls": house.pop3_tls_port, "implicit": house.pop3s_port}[tls]
    ca = None if tls == "none" else house.certificate.file
    return Account(tmp_path / "curl", port, MARK, PEOPLE[MARK], tls, ca)


def test_list_uidl_and_retr(house: MailHouse, mine: Account) -> None:
    kept = house.mailbox()
    listed = curl(mine)
    assert listed.code == 0, listed.said
    assert listed.output == b"".join(b"%d %d\r\n" % (n, len(octets)) for n, octets in enumerate(kept, 1))
    uidl = curl(mine, "", "--request", "UIDL")
    numbers, ids = zip(*(line.split() for line in uidl.output.splitlines()), strict=True)
    assert numbers == (b"1", b"2", b"3")
    assert len(set(ids)) == 3
    assert [curl(mine, str(n)).output for n in (1, 2, 3)] == kept
    assert curl(mine, "", "--request", "TOP 2 1").output == kept[1].partition(b"\r\n\r\n")[0] + b"\r\n\r\n.line\r\n"


def test_dele(house: MailHouse, mine: Account) -> None:
    kept = house.mailbox()
    done = curl(mine, "2", "--request", "DELE", "--head")
    assert done.code == 0, done.said
    assert house.mailbox() == [kept[0], kept[2]]


def test_what_is_not_there(mine: Account) -> None:
    assert curl(mine, "4").code == WEIRD
    assert curl(mine, "4", "--list-only").code == WEIRD
    mine.password = "wrong"
    assert curl(mine).code == REFUSED


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial", [[], ["--sasl-ir"]], ids=["asked", "at once"])
def test_every_mechanism_that_it_has(mine: Account, mechanism: str, initial: list[str]) -> None:
    option = f"AUTH={mechanism}"
    done = curl(mine, "1", "--login-options", option, *initial)
    assert done.code == 0, done.said
    assert f"> AUTH {mechanism}" in done.said
    mine.password = "wrong"
    assert curl(mine, "1", "--login-options", option, *initial).code == REFUSED


def test_one_connection_serves_many_transfers(house: MailHouse, tmp_path: Path) -> None:
    mine = Account(tmp_path / "curl", house.pop3_port, MARK, PEOPLE[MARK])
    base = f"pop3://127.0.0.1:{mine.port}"
    done = curl(mine, "1", f"{base}/2", f"{base}/3")
    assert done.code == 0
    assert sorted(done.output.split(b"Return-Path: ")) == sorted(b"".join(house.mailbox()).split(b"Return-Path: "))
    assert done.said.count("+OK 3 ") <= 1 or "Re-using existing connection" in done.said
