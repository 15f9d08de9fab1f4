"""Python's smtplib against a running server: every public method, every error it can raise, over every transport."""

import ast
import base64
import inspect
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.harness.mail_house import MARK, PEOPLE, ZOE, below_trace
from tests.harness.many_doors import ManyDoors
from tests.harness.mta_server import PATIENCE

PASSWORD = PEOPLE[MARK]
NOBODY = "nobody@minasi.example"
LETTER = f"From: <{MARK}>\r\nTo: <{ZOE}>\r\nSubject: a letter\r\n\r\nDear Zoe\r\n"
#: What smtplib reads of a line of a reply before it gives up is more; RFC 5321 §4.5.3.1.5 is stricter.
REPLY_LINE = 512


def session(doors: ManyDoors, door: str = "plain", context: ssl.SSLContext | None = None) -> smtplib.SMTP:
    """Connected, and nothing said; under TLS at an implicit door."""
    port = doors.port_of(door)
    if door.endswith("implicit"):
        tls = context or doors.certificate.context()
        return smtplib.SMTP_SSL("localhost", port, "client.example", context=tls, timeout=PATIENCE)
    return smtplib.SMTP("localhost", port, "client.example", PATIENCE)


def secured(doors: ManyDoors, door: str = "submission") -> smtplib.SMTP:
    """Under TLS by STARTTLS."""
    made = session(doors, door)
    made.starttls(context=doors.certificate.context())
    made.ehlo()
    return made


def the_letter(doors: ManyDoors) -> bytes:
    [message] = doors.arrived()
    return below_trace(message)


@pytest.fixture(autouse=True)
def empty(doors: ManyDoors) -> None:
    """What a test before this one may have left does not count."""
    doors.empty()


# -- The methods, one by one --


def test_connect_tells_the_greeting_and_can_be_done_again(doors: ManyDoors) -> None:
    client = smtplib.SMTP(local_hostname="client.example", timeout=PATIENCE)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()
    for door in ("plain", "tls"):
        assert client.connect("localhost", doors.port_of(door)) == (220, b"hermes.example ESMTP Hermes")
        client.ehlo()
        assert client.sendmail(MARK, [ZOE], LETTER) == {}
        client.close()
    assert len(doors.arrived()) == 2


def test_connect_from_an_address_of_its_own(doors: ManyDoors) -> None:
    client = smtplib.SMTP("127.0.0.1", doors.port_of("plain"), "client.example", PATIENCE, ("127.0.0.9", 0))
    with client:
        client.sendmail(MARK, [ZOE], LETTER)
    assert doors.wait_for_event("Reception", peer_address={"addr": "127.0.0.9", "name": "client.example"})
    assert b"from client.example ([127.0.0.9])" in doors.arrived()[0]


def test_helo_is_answered_in_one_line(doors: ManyDoors) -> None:
    with session(doors) as client:
        assert client.helo("old.example") == (250, b"hermes.example greets old.example")
        assert not client.does_esmtp
        assert not client.has_extn("size")
        assert client.sendmail(MARK, [ZOE], LETTER) == {}
    assert b" with SMTP id " in doors.arrived()[0]


def test_ehlo_is_answered_with_extensions(doors: ManyDoors) -> None:
    with session(doors) as client:
        code, text = client.ehlo("new.example")
        assert (code, text.splitlines()[0]) == (250, b"hermes.example greets new.example")
        assert client.does_esmtp
        assert client.esmtp_features["size"] == str(2 << 20)
        for name in ("pipelining", "8bitmime", "smtputf8", "chunking", "dsn", "enhancedstatuscodes", "help"):
            assert client.has_extn(name)
        assert not client.has_extn("auth")
        assert not client.has_extn("starttls")
    with secured(doors) as client:
        assert client.has_extn("AUTH")
        assert not client.has_extn("starttls")


def test_either_is_said_when_it_is_needed(doors: ManyDoors) -> None:
    with session(doors) as client:
        assert client.ehlo_resp is None
        client.ehlo_or_helo_if_needed()
        assert client.ehlo_resp.startswith(b"hermes.example")
    with session(doors, "lmtp") as client, pytest.raises(smtplib.SMTPHeloError) as raised:
        client.ehlo_or_helo_if_needed()
    assert raised.value.smtp_code == 500


def test_noop_rset_and_help(doors: ManyDoors) -> None:
    with session(doors) as client:
        assert client.noop()[0] == 250
        assert client.rset()[0] == 250
        for verb in (b"EHLO", b"MAIL", b"RCPT", b"DATA", b"BDAT", b"QUIT"):
            assert verb in client.help().split()
    with session(doors, "old") as client:
        assert client.docmd("HELP")[0] == 502


@pytest.mark.parametrize(("door", "known", "unknown"), [("plain", 252, 252), ("told", 250, 550)])
def test_verify_and_its_short_name(doors: ManyDoors, door: str, known: int, unknown: int) -> None:
    with session(doors, door) as client:
        client.ehlo()
        assert client.verify(ZOE)[0] == client.vrfy(ZOE)[0] == known
        assert client.verify(NOBODY)[0] == unknown


def test_expn(doors: ManyDoors) -> None:
    with session(doors) as client:
        client.ehlo()
        assert client.expn("friends")[0] == 502
    with session(doors, "told") as client:
        client.ehlo()
        assert client.expn(NOBODY)[0] == 550


def test_mail_rcpt_data_by_hand(doors: ManyDoors) -> None:
    with session(doors) as client:
        assert client.mail(MARK)[0] == 503
        client.ehlo()
        with pytest.raises(smtplib.SMTPDataError) as raised:
            client.data(LETTER)
        assert raised.value.smtp_code == 503
        assert client.mail(MARK, ["size=1000", "body=8bitmime"])[0] == 250
        assert client.mail(MARK)[0] == 503
        assert client.rset()[0] == 250
        assert client.rcpt(ZOE)[0] == 503
        assert client.mail(f"Mark <{MARK}>")[0] == 250
        assert client.rcpt(NOBODY)[0] == 550
        assert client.rcpt(ZOE)[0] == 250
        code, text = client.data(LETTER)
        assert (code, text.split()[2:]) == (250, [b"queued"])
    assert the_letter(doors) == LETTER.encode()


def test_quit_is_the_end(doors: ManyDoors) -> None:
    client = session(doors)
    assert client.quit()[0] == 221
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


def test_send_putcmd_and_getreply_make_a_pipeline(doors: ManyDoors) -> None:
    with session(doors) as client:
        client.ehlo()
        for _ in range(5):
            client.send(f"MAIL FROM:<{MARK}>\r\nRCPT TO:<{NOBODY}>\r\nRCPT TO:<{ZOE}>\r\nDATA\r\n")
            assert [client.getreply()[0] for _ in range(4)] == [250, 550, 250, 354]
            client.send(LETTER + ".\r\n")
            assert client.getreply()[0] == 250
        client.putcmd("noop")
        assert client.getreply()[0] == 250
    assert len(doors.arrived()) == 5


def test_no_line_of_a_reply_is_too_long(doors: ManyDoors) -> None:
    """Whatever a client says, it is not said back at length."""
    with session(doors) as client:
        client.set_debuglevel(0)
        said = [client.docmd("EHLO", "x" * 250), client.docmd("HELP"), client.docmd("VRFY", "y" * 400)]
        said += [client.mail("z" * 300 + "@" + "d" * 60 + ".example"), client.docmd("NOOP", "n" * 5000)]
    assert [code for code, _ in said][-1] == 500
    assert max(len(line) for _, text in said for line in text.splitlines()) + len(b"250-\r\n") <= REPLY_LINE


# -- sendmail and send_message --


def test_some_recipients_are_refused(doors: ManyDoors) -> None:
    with session(doors) as client:
        refused = client.sendmail(MARK, [NOBODY, ZOE, "no address", "a@b@c"], LETTER)
    assert sorted(refused) == sorted([NOBODY, "no address", "a@b@c"])
    assert refused[NOBODY][0] == 550
    assert refused[NOBODY][1].startswith(b"5.1.1 ")
    assert the_letter(doors) == LETTER.encode()


def test_all_recipients_are_refused_and_the_session_goes_on(doors: ManyDoors) -> None:
    with session(doors) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
            client.sendmail(MARK, [NOBODY, f"no-{NOBODY}"], LETTER)
        assert {code for code, _ in raised.value.recipients.values()} == {550}
        assert client.sendmail(MARK, ZOE, LETTER) == {}
    assert the_letter(doors) == LETTER.encode()


def test_the_sender_is_refused(doors: ManyDoors) -> None:
    with session(doors) as client:
        for options, code in ((["body=16bit"], 501), (["colour=red"], 555), (["ret=half"], 501)):
            with pytest.raises(smtplib.SMTPSenderRefused) as raised:
                client.sendmail(MARK, [ZOE], LETTER, options)
            assert raised.value.smtp_code == code
        with pytest.raises(smtplib.SMTPSenderRefused) as raised:
            client.sendmail("not an address", [ZOE], LETTER)
        assert raised.value.smtp_code == 501
    with secured(doors) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as raised:
            client.sendmail(MARK, [ZOE], LETTER)
        assert raised.value.smtp_code == 530
        client.login(MARK, PASSWORD)
        with pytest.raises(smtplib.SMTPSenderRefused) as raised:
            client.sendmail(ZOE, [ZOE], LETTER)
        assert raised.value.smtp_code == 553
    assert doors.arrived() == []


def test_a_message_is_too_large(doors: ManyDoors) -> None:
    large = LETTER + ("x" * 70 + "\r\n") * 30_000
    with session(doors) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as raised:  # it says its size
            client.sendmail(MARK, [ZOE], large)
        assert raised.value.smtp_code == 552
        client.helo()
        client.esmtp_features.clear()
        client.does_esmtp = False
        with pytest.raises(smtplib.SMTPDataError) as refused:  # it does not
            client.sendmail(MARK, [ZOE], large)
        assert refused.value.smtp_code == 552
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail(MARK, [ZOE], LETTER + "x" * 70_000)
        assert refused.value.smtp_code == 554
        assert client.sendmail(MARK, [ZOE], LETTER) == {}
    assert the_letter(doors) == LETTER.encode()


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("\n.\n..\n.dot\n\n.\n", b"\r\n.\r\n..\r\n.dot\r\n\r\n.\r\n"),
        ("\nbare\rCR and\nLF\r\n", b"\r\nbare\r\nCR and\r\nLF\r\n"),
        ("\nno line end", b"\r\nno line end\r\n"),
        ("\n" + "x" * 998 + "\n" + "y" * 60_000, b"\r\n" + b"x" * 998 + b"\r\n" + b"y" * 60_000 + b"\r\n"),
    ],
    ids=["dots", "bare line ends", "no line end", "long lines"],
)
def test_what_the_client_mends_arrives_mended(doors: ManyDoors, sent: str, arrives: bytes) -> None:
    with session(doors) as client:
        client.sendmail(MARK, [ZOE], "Subject: x\n" + sent)
    assert the_letter(doors) == b"Subject: x\r\n" + arrives


def test_octets_go_as_they_are(doors: ManyDoors) -> None:
    content = b"Subject: x\r\n\r\n" + bytes(n for n in range(256) if n not in (10, 13)) + b"\r\n"
    with session(doors) as client:
        client.sendmail(MARK, [ZOE], content, ["body=8bitmime"])
    assert the_letter(doors) == content


def test_options_of_dsn_are_kept(doors: ManyDoors) -> None:
    with session(doors) as client:
        options = [["NOTIFY=SUCCESS", f"ORCPT=rfc822;{ZOE}"], ["NOTIFY=NEVER"]]
        client.sendmail(MARK, [ZOE], LETTER, ["RET=HDRS", "ENVID=letter-1"], options[0])
        client.sendmail(MARK, [ZOE], LETTER, (), options[1])
    assert len(doors.arrived()) == 2
    [report] = doors.mailbox(MARK)
    for line in ("Original-Envelope-Id: letter-1", f"Original-Recipient: rfc822; {ZOE}", "Action: delivered"):
        assert f"\r\n{line}\r\n".encode() in report
    assert str(doors.directory).encode() not in report
    assert b"Remote-MTA" not in report  # it went no further than here


def test_send_message_finds_the_addresses_and_keeps_bcc_to_itself(doors: ManyDoors) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Bcc"] = MARK, NOBODY, ZOE
    message["Subject"] = "Grüße"
    message.set_content("Grüße aus Köln\n.\n", cte="8bit")
    with session(doors) as client:
        assert list(client.send_message(message)) == [NOBODY]
    letter = the_letter(doors)
    assert b"Bcc" not in letter
    assert "Grüße aus Köln\r\n.\r\n".encode() in letter
    assert b"Subject: =?utf-8?" in letter


def test_send_message_beyond_ascii(doors: ManyDoors) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "märk@minasi.example", ZOE, "Grüße"
    message.set_content("Grüße\n")
    with session(doors) as client:
        assert client.send_message(message) == {}
    assert doors.wait_for_event("Reception", reception_protocol="UTF8SMTP")
    letter = the_letter(doors).decode()
    assert "From: märk@minasi.example\r\n" in letter
    assert "Subject: Grüße\r\n" in letter
    with session(doors, "old") as client, pytest.raises(smtplib.SMTPNotSupportedError):
        client.send_message(message)


# -- TLS --


@pytest.mark.parametrize("door", ["tls", "required", "known"])
def test_starttls_forgets_what_was_said(doors: ManyDoors, door: str) -> None:
    with session(doors, door) as client:
        client.ehlo("before.example")
        assert client.starttls(context=doors.certificate.context())[0] == 220
        assert client.ehlo_resp is None
        assert client.mail(MARK)[0] == 503
        client.ehlo("after.example")
        assert not client.has_extn("starttls")
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.starttls()
        assert client.docmd("STARTTLS")[0] in (502, 503)
        assert client.sendmail(MARK, [ZOE], LETTER) == {}
    assert b"Received: from after.example" in doors.arrived()[0]


def test_starttls_where_it_is_not_offered(doors: ManyDoors) -> None:
    with session(doors) as client:
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.starttls()
        assert client.docmd("STARTTLS")[0] == 502


@pytest.mark.parametrize("door", ["implicit", "known_implicit"])
def test_tls_from_the_first_octet(doors: ManyDoors, door: str) -> None:
    context = doors.certificate.context()
    context.load_cert_chain(doors.friend.certificate, doors.friend.private_key)
    with session(doors, door, context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sendmail(MARK, [ZOE], LETTER) == {}
    assert b" with ESMTPS id " in doors.arrived()[0]
    if door == "known_implicit":
        assert doors.wait_for_event("Reception", tls_peer="commonName=friend.example")


def test_a_certificate_that_is_not_known_is_not_taken(doors: ManyDoors) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        session(doors, "implicit", ssl.create_default_context())
    client = session(doors, "tls")
    with pytest.raises(ssl.SSLCertVerificationError):
        client.starttls(context=ssl.create_default_context())
    client.close()


# -- Logins --

Method = Callable[[smtplib.SMTP], Callable[..., str]]


def token(value: str) -> Callable[..., str]:
    return lambda challenge=None: "" if challenge else f"user={MARK}\x01auth=Bearer {value}\x01\x01"


@pytest.mark.parametrize("door", ["submission", "submission_implicit", "clear"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("at_once", [True, False], ids=["initial response", "none"])
def test_auth(doors: ManyDoors, door: str, mechanism: str, at_once: bool) -> None:
    methods: dict[str, Method] = {
        "PLAIN": lambda client: client.auth_plain,
        "LOGIN": lambda client: client.auth_login,
        "XOAUTH2": lambda _: token("good-token"),
        "OAUTHBEARER": lambda _: lambda challenge=None: "n,,\x01auth=Bearer good-token\x01\x01",
    }
    with secured(doors) if door == "submission" else session(doors, door) as client:
        client.ehlo_or_helo_if_needed()
        assert mechanism in client.esmtp_features["auth"].split()
        client.user, client.password = MARK, PASSWORD
        assert client.auth(mechanism, methods[mechanism](client), initial_response_ok=at_once)[0] == 235
        assert client.docmd("AUTH", "PLAIN")[0] == 503
        assert client.sendmail(MARK, [ZOE], LETTER) == {}
    assert doors.arrived()[0].endswith(LETTER.encode())


def test_login_finds_a_mechanism(doors: ManyDoors) -> None:
    with secured(doors) as client:
        assert client.login(MARK, PASSWORD, initial_response_ok=False)[0] == 235


def test_logins_that_fail_are_told_apart_by_nothing(doors: ManyDoors) -> None:
    heard = set()
    for user, password in ((MARK, "wrong"), ("nobody@minasi.example", PASSWORD), ("", "")):
        with secured(doors) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError) as raised:
                client.auth("PLAIN", lambda challenge=None, said=f"\0{user}\0{password}": said)
            heard.add((raised.value.smtp_code, raised.value.smtp_error))
            assert client.noop()[0] == 250
    assert heard == {(535, b"5.7.8 authentication failed")}


def test_what_is_no_login(doors: ManyDoors) -> None:
    with secured(doors) as client:
        client.user, client.password = MARK, PASSWORD
        with pytest.raises(smtplib.SMTPAuthenticationError) as raised:
            client.auth("CRAM-MD5", client.auth_cram_md5, initial_response_ok=False)
        assert raised.value.smtp_code == 504
        assert client.docmd("AUTH", "PLAIN ***")[0] == 501
        assert client.docmd("AUTH")[0] == 501
        assert client.docmd("AUTH", "PLAIN")[0] == 334
        assert client.docmd("*")[0] == 501
    with secured(doors) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as raised:
            client.auth("XOAUTH2", token("bad-token"))
        assert raised.value.smtp_code == 535
    for door in ("plain", "submission"):  # without TLS there is none to offer
        with session(doors, door) as client, pytest.raises(smtplib.SMTPNotSupportedError):
            client.login(MARK, PASSWORD)


def test_too_many_wrong_passwords_are_the_end(doors: ManyDoors) -> None:
    client = secured(doors)
    wrong = base64.b64encode(f"\0{MARK}\0wrong".encode()).decode()
    assert [client.docmd("AUTH", f"PLAIN {wrong}")[0] for _ in range(4)] == [535, 535, 535, 421]
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


# -- LMTP --


@pytest.mark.parametrize("door", ["lmtp", "lmtp_socket"])
def test_lmtp(doors: ManyDoors, door: str) -> None:
    host, port = (doors.where(door), 0) if door == "lmtp_socket" else ("localhost", doors.port_of(door))
    with smtplib.LMTP(host, port, "client.example", timeout=PATIENCE) as client:
        assert client.sendmail(MARK, [NOBODY, ZOE], LETTER) == {NOBODY: (550, b"5.1.1 no such mailbox here")}
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(MARK, [NOBODY], LETTER)
        assert client.mail(MARK)[0] == 250
        assert [client.rcpt(person)[0] for person in (ZOE, NOBODY, MARK)] == [250, 550, 250]
        assert client.data(LETTER)[0] == client.getreply()[0] == 250
        assert client.noop()[0] == 250
    assert [below_trace(message) for message in doors.arrived()] == [LETTER.encode()] * 2


# -- The end of a connection --


def test_a_client_that_goes_in_the_middle_has_sent_nothing(doors: ManyDoors) -> None:
    for part in ("", LETTER, LETTER + ".\r", LETTER + ".\n"):
        client = session(doors)
        client.ehlo()
        assert client.mail(MARK)[0] == client.rcpt(ZOE)[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(part)
        client.close()
    assert doors.arrived() == []


def test_a_client_that_makes_errors_only_is_told_to_go(doors: ManyDoors) -> None:
    client = session(doors)
    assert [client.docmd("NONSENSE")[0] for _ in range(22)] == [500] * 21 + [421]
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


def test_a_server_that_stops_says_so(mta, sink) -> None:
    server = mta()
    client = smtplib.SMTP("127.0.0.1", server.port, "client.example", PATIENCE)
    client.ehlo()
    server.stop()
    assert client.getreply()[0] == 421
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


def test_no_public_method_is_forgotten() -> None:
    used = {node.attr for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.Attribute)}
    methods = {name for name, _ in inspect.getmembers(smtplib.SMTP, callable) if not name.startswith("_")}
    assert len(methods) > 20
    assert methods - used == set()
