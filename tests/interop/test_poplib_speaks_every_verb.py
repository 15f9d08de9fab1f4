"""Python's poplib: every verb that it has, in clear, after STLS and over TLS, and what a cut connection leaves."""

import poplib

import pytest

from tests.harness.mail_house import MARK, PEOPLE, ZOE, MailHouse

CONTENTS = [b"Subject: %d\r\n\r\n.first\r\nsecond\r\nthird\r\n" % n for n in range(1, 4)]


@pytest.fixture
def house(one_house: MailHouse) -> MailHouse:
    one_house.empty().fill(CONTENTS)
    return one_house


@pytest.fixture(params=["none", "starttls", "implicit"])
def session(request: pytest.FixtureRequest, house: MailHouse):
    """Logged in as Mark."""
    if request.param == "implicit":
        opened: poplib.POP3 = poplib.POP3_SSL("127.0.0.1", house.pop3s_port, context=house.certificate.context())
    elif request.param == "starttls":
        opened = poplib.POP3("127.0.0.1", house.pop3_tls_port)
        assert "STLS" in opened.capa()
        opened.stls(house.certificate.context())
        assert "STLS" not in opened.capa()
    else:
        opened = poplib.POP3("127.0.0.1", house.pop3_port)
    assert opened.getwelcome().startswith(b"+OK ")
    opened.user(MARK)
    opened.pass_(PEOPLE[MARK])
    yield opened
    opened.close()


def test_capa_says_what_there_is(session: poplib.POP3) -> None:
    said = session.capa()
    assert {"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE", "IMPLEMENTATION", "UTF8"} <= set(
        said
    )
    assert said["EXPIRE"] == ["NEVER"]


def test_stat_list_uidl(house: MailHouse, session: poplib.POP3) -> None:
    count, octets = session.stat()
    lines = session.list()[1]
    sizes = [int(line.split()[1]) for line in lines]
    assert (count, octets) == (3, sum(sizes))
    assert [session.list(n) for n in (1, 2, 3)] == [b"+OK %d %d" % (n, size) for n, size in enumerate(sizes, 1)]
    assert [len(b"".join(line + b"\r\n" for line in session.retr(n)[1])) for n in (1, 2, 3)] == sizes
    ids = session.uidl()[1]
    assert [session.uidl(n) for n in (1, 2, 3)] == [b"+OK " + line for line in ids]
    session.quit()
    with house.pop3() as later:
        assert later.listing("UIDL") == ids


def test_retr_and_top(session: poplib.POP3) -> None:
    for n, content in enumerate(CONTENTS, 1):
        whole = session.retr(n)[1]
        assert b"".join(line + b"\r\n" for line in whole[2:]) == content
        assert whole[0].startswith(b"Return-Path: <")
        assert whole[1].startswith(b"Delivered-To: ")
        end = whole.index(b"") + 1
        assert [session.top(n, lines)[1] for lines in (0, 1, 2, 99)] == [
            whole[:end], whole[: end + 1], whole[: end + 2], whole,
        ]  # fmt: skip


def test_dele_rset_noop_quit(house: MailHouse, session: poplib.POP3) -> None:
    session.dele(1)
    session.dele(3)
    assert session.stat()[0] == 1
    with pytest.raises(poplib.error_proto):
        session.retr(1)
    session.rset()
    assert session.stat()[0] == 3
    assert session.noop().startswith(b"+OK")
    session.dele(2)
    assert session.quit().startswith(b"+OK")
    assert [
        message.endswith(content) for message, content in zip(house.mailbox(), (CONTENTS[0], CONTENTS[2]), strict=True)
    ]
    assert house.count() == 2


def test_a_cut_connection_deletes_nothing(house: MailHouse, session: poplib.POP3) -> None:
    session.dele(1)
    session.dele(2)
    session.close()
    assert house.count() == 3


def test_a_mailbox_has_one_reader(house: MailHouse, session: poplib.POP3) -> None:
    second = poplib.POP3("127.0.0.1", house.pop3_port)
    second.user(MARK)
    with pytest.raises(poplib.error_proto, match=r"\[IN-USE\]"):
        second.pass_(PEOPLE[MARK])
    second.close()
    with house.pop3(ZOE) as other:
        assert other.count() == 0
    session.quit()
    assert house.count() == 3


def test_utf8(house: MailHouse) -> None:
    session = poplib.POP3("127.0.0.1", house.pop3_port)
    assert session.utf8().startswith(b"+OK")
    session.user(MARK)
    assert session.pass_(PEOPLE[MARK]).startswith(b"+OK")
    session.quit()


def test_old_logins_are_refused(house: MailHouse) -> None:
    session = poplib.POP3("127.0.0.1", house.pop3_port)
    with pytest.raises(poplib.error_proto, match="APOP not supported"):
        session.apop(MARK, PEOPLE[MARK])  # the greeting has none, so poplib does not even ask
    with pytest.raises(poplib.error_proto, match="-ERR"):
        session.rpop(MARK)
    with pytest.raises(poplib.error_proto, match="-ERR"):
        session._shortcmd(f"APOP {MARK} c4c9334bac560ecc979e58001b3e22fb")
    session.user(MARK)
    session.pass_(PEOPLE[MARK])
    session.quit()


@pytest.mark.parametrize("user", [MARK, "nobody@minasi.example"], ids=["wrong password", "nobody"])
def test_a_wrong_login_is_refused_with_its_code(house: MailHouse, user: str) -> None:
    session = poplib.POP3("127.0.0.1", house.pop3_port)
    assert session.user(user).startswith(b"+OK"), "USER tells nobody who exists"
    with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
        session.pass_("wrong")
    session.close()


def test_no_password_is_asked_for_without_tls_where_tls_is_required(house: MailHouse) -> None:
    session = poplib.POP3("127.0.0.1", house.pop3_tls_port)
    assert "USER" not in session.capa()
    with pytest.raises(poplib.error_proto, match="TLS"):
        session.user(MARK)
    session.close()
