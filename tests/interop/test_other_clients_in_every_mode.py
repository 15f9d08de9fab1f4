"""aiosmtplib, msmtp and curl against a running server, in the modes that ``test_submission_clients`` has not: tokens,
client certificates, SMTPUTF8, LMTP, unix sockets, DSN, ETRN, VRFY, several messages on one connection.

None of the three pipelines a transaction by choice but msmtp, which does so where it is offered.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest

from tests.harness.mail_house import MARK, PEOPLE, ZOE, below_trace
from tests.harness.many_doors import OTHER_NAME, ManyDoors
from tests.harness.mta_server import PATIENCE
from tests.harness.sinks import peer_program

PASSWORD = PEOPLE[MARK]
NOBODY = "nobody@minasi.example"
LETTER = f"From: <{MARK}>\r\nTo: <{ZOE}>\r\nSubject: a letter\r\n\r\nDear Zoe\r\n.\r\n"
WIDE = "märk@minasi.example"


@pytest.fixture(autouse=True)
def empty(doors: ManyDoors) -> None:
    """What a test before this one may have left does not count."""
    doors.empty()


def the_letter(doors: ManyDoors) -> bytes:
    [message] = doors.arrived()
    return below_trace(message)


# -- aiosmtplib --


@asynccontextmanager
async def aio(doors: ManyDoors, door: str = "plain", **options: Any) -> AsyncIterator[aiosmtplib.SMTP]:
    """Connected; TLS as the door has it."""
    own: dict[str, Any] = {"use_tls": door.endswith("implicit"), "timeout": PATIENCE}
    if door.endswith("socket"):
        own["socket_path"] = doors.where(door)
    else:
        own |= {"hostname": "localhost", "port": doors.port_of(door), "tls_context": doors.certificate.context()}
    async with aiosmtplib.SMTP(**own | options) as client:
        yield client


@pytest.mark.parametrize("door", ["plain", "tls", "implicit", "required", "socket", "old"])
async def test_aiosmtplib_speaks_every_method(doors: ManyDoors, door: str) -> None:
    async with aio(doors, door) as client:
        await client.ehlo()
        under_tls = client.get_transport_info("sslcontext") is not None
        assert under_tls == (door in ("tls", "implicit", "required"))
        assert client.supports_extension("size")
        assert client.supports_extension("starttls") is False
        assert (await client.noop()).code == 250
        assert (await client.rset()).code == 250
        if door != "old":
            assert "EHLO" in (await client.help()).split()
        assert (await client.vrfy(ZOE)).code == 252
        with pytest.raises(aiosmtplib.SMTPResponseException) as raised:
            await client.expn("friends")
        assert raised.value.code == 502
        assert (await client.mail(MARK, options=["size=1000"])).code == 250
        with pytest.raises(aiosmtplib.SMTPRecipientRefused) as refused:
            await client.rcpt(NOBODY)
        assert refused.value.code == 550
        assert (await client.rcpt(ZOE)).code == 250
        assert (await client.data(LETTER)).message.endswith("queued")
        assert (await client.helo()).code == 250
        assert (await client.quit()).code == 221
    assert the_letter(doors) == LETTER.encode()


@pytest.mark.parametrize("door", ["submission", "submission_implicit", "clear"])
@pytest.mark.parametrize("mechanism", ["plain", "login", "xoauth2", "token generator"])
async def test_aiosmtplib_logs_in(doors: ManyDoors, door: str, mechanism: str) -> None:
    async def token() -> str:
        return "good-token"

    by_token = {"username": MARK, "oauth_token_generator": token} if mechanism == "token generator" else {}
    async with aio(doors, door, **by_token) as client:
        await client.ehlo()
        assert {"plain", "login"} <= set(client.supported_auth_methods)
        if mechanism == "xoauth2":
            assert (await client.auth_xoauth2(MARK, "good-token")).code == 235
        elif not by_token:
            assert (await getattr(client, f"auth_{mechanism}")(MARK, PASSWORD)).code == 235
        await client.sendmail(MARK, [ZOE], LETTER)
    assert doors.wait_for_event("Reception", submitter=MARK)
    assert the_letter(doors).endswith(LETTER.encode())


async def test_aiosmtplib_hears_that_it_may_not(doors: ManyDoors) -> None:
    async with aio(doors, "submission") as client:
        await client.ehlo()
        for method, secret in (
            (client.auth_plain, "wrong"),
            (client.auth_login, "wrong"),
            (client.auth_xoauth2, "bad"),
        ):
            with pytest.raises(aiosmtplib.SMTPAuthenticationError) as raised:
                await method(MARK, secret)
            assert raised.value.code == 535
    async with aio(doors, "submission") as client:
        with pytest.raises(aiosmtplib.SMTPSenderRefused) as refused:
            await client.sendmail(MARK, [ZOE], LETTER)
        assert refused.value.code == 530
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await client.auth_crammd5(MARK, PASSWORD)
    async with aio(doors) as client:
        with pytest.raises(aiosmtplib.SMTPException):
            await client.login(MARK, PASSWORD)
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
            await client.sendmail(MARK, [NOBODY, f"no-{NOBODY}"], LETTER)
        assert set((await client.sendmail(MARK, [NOBODY, ZOE], LETTER))[0]) == {NOBODY}
    assert the_letter(doors) == LETTER.encode()


async def test_aiosmtplib_has_a_certificate(doors: ManyDoors) -> None:
    mine = {"client_cert": str(doors.friend.certificate), "client_key": str(doors.friend.private_key)}
    for door in ("known", "known_implicit"):
        options = mine | {"tls_context": None, "cert_bundle": str(doors.certificate.file)}
        async with aio(doors, door, **options) as client:
            await client.sendmail(MARK, [ZOE], LETTER)
    doors.wait_for_events(2, "Reception", tls_peer="commonName=friend.example")
    assert len(doors.arrived()) == 2


async def test_aiosmtplib_sends_concurrently_on_one_connection(doors: ManyDoors) -> None:
    """Each waits for its turn: 40 letters, in whatever order, none mixed with another."""
    async with aio(doors, "tls") as client:
        letters = [f"Subject: {n}\r\n\r\n" + f"{n}\r\n" * 50 for n in range(40)]
        await asyncio.gather(*(client.sendmail(MARK, [ZOE], letter) for letter in letters))
    arrived = {below_trace(message).decode() for message in doors.arrived()}
    assert arrived == set(letters)


async def test_aiosmtplib_beyond_ascii(doors: ManyDoors) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = WIDE, ZOE, "Grüße"
    message.set_content("Grüße\n")
    async with aio(doors) as client:
        await client.send_message(message)
    assert doors.wait_for_event("Reception", reception_protocol="UTF8SMTP")
    assert "Subject: Grüße\r\n" in the_letter(doors).decode()
    async with aio(doors, "old") as client:
        with pytest.raises(aiosmtplib.SMTPNotSupported):
            await client.send_message(message)


# -- msmtp --


def msmtp(doors: ManyDoors, door: str, *options: str, to: tuple[str, ...] = (ZOE,), stdin: str = LETTER) -> str:
    """One letter; what it says on stdout. Fails when it fails."""
    done = msmtp_run(doors, door, *options, to=to, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def msmtp_run(
    doors: ManyDoors, door: str, *options: str, to: tuple[str, ...] = (ZOE,), stdin: str = LETTER
) -> "subprocess.CompletedProcess[str]":
    socket = door.endswith("socket")
    where = ["--port=25", f"--socket={doors.where(door)}"] if socket else [f"--port={doors.port_of(door)}"]
    tls = ["--tls=off"]
    if door not in ("plain", "socket", "clear", "old", "told", "lmtp", "lmtp_socket"):
        starttls = "off" if door.endswith("implicit") else "on"
        tls = ["--tls=on", f"--tls-starttls={starttls}", f"--tls-trust-file={doors.certificate.file}"]
        tls.append("--tls-host-override=localhost")
    program = peer_program("msmtp", "msmtp")
    command = [program, "--host=127.0.0.1", *where, *tls, "--domain=client.example", f"--from={MARK}", *options]
    text = stdin.replace("\r\n", "\n").encode()
    done = subprocess.run([*command, *(["--", *to] if to else [])], input=text, capture_output=True, timeout=60)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize(
    ("door", "protocol"),
    [
        ("plain", "ESMTP"), ("tls", "ESMTPS"), ("required", "ESMTPS"), ("implicit", "ESMTPS"), ("socket", "ESMTP"),
        ("old", "ESMTP"),
    ],
)  # fmt: skip
def test_msmtp_sends(doors: ManyDoors, door: str, protocol: str) -> None:
    msmtp(doors, door)
    assert f" with {protocol} id ".encode() in doors.arrived()[0]


@pytest.mark.parametrize("door", ["lmtp", "lmtp_tls", "lmtp_implicit", "lmtp_socket"])
def test_msmtp_speaks_lmtp(doors: ManyDoors, door: str) -> None:
    msmtp(doors, door, "--protocol=lmtp", to=(ZOE, MARK))
    assert the_letter(doors).endswith(LETTER.encode())
    assert len(doors.mailbox(MARK)) == 1


@pytest.mark.parametrize("mechanism", ["oauthbearer", "xoauth2"])
@pytest.mark.parametrize("door", ["submission", "submission_implicit"])
def test_msmtp_logs_in_with_a_token(doors: ManyDoors, door: str, mechanism: str) -> None:
    user = [f"--auth={mechanism}", f"--user={MARK}"]
    msmtp(doors, door, *user, "--passwordeval=echo good-token")
    assert doors.wait_for_event("Reception", submitter=MARK)
    done = msmtp_run(doors, door, *user, "--passwordeval=echo bad-token")
    assert done.returncode == 77  # EX_NOPERM
    assert len(doors.arrived()) == 1


def test_msmtp_has_a_certificate_and_an_address(doors: ManyDoors) -> None:
    mine = [f"--tls-cert-file={doors.friend.certificate}", f"--tls-key-file={doors.friend.private_key}"]
    msmtp(doors, "known", *mine, "--source-ip=127.0.0.11")
    event = doors.wait_for_event("Reception", tls_peer="commonName=friend.example")
    assert event["peer_address"]["addr"] == "127.0.0.11"
    stranger = [f"--tls-cert-file={doors.other.certificate}", f"--tls-key-file={doors.other.private_key}"]
    assert msmtp_run(doors, "known", *stranger).returncode != 0
    assert msmtp_run(doors, "tls", f"--tls-trust-file={doors.other.certificate}").returncode != 0
    assert msmtp_run(doors, "tls", "--tls-priorities=NORMAL:-VERS-ALL:+VERS-TLS1.1").returncode != 0
    msmtp(doors, "tls", "--tls-priorities=NORMAL:-VERS-ALL:+VERS-TLS1.2")
    assert doors.wait_for_event("Reception", tls_protocol_version="TLSv1.2")
    assert len(doors.arrived()) == 2


def test_msmtp_asks_for_a_report(doors: ManyDoors) -> None:
    msmtp(doors, "plain", "--dsn-notify=success", "--dsn-return=full")
    assert len(doors.arrived()) == 1
    [report] = doors.mailbox(MARK)
    assert b"\r\nAction: delivered\r\n" in report


def test_msmtp_reads_the_recipients(doors: ManyDoors) -> None:
    message = LETTER.replace("Subject:", f"Bcc: {MARK}\r\nSubject:")
    msmtp(doors, "plain", "--read-recipients", to=(), stdin=message)
    assert the_letter(doors).endswith(LETTER.encode())
    assert len(doors.mailbox(MARK)) == 1


def test_msmtp_is_told_who_was_refused(doors: ManyDoors) -> None:
    done = msmtp_run(doors, "plain", to=(ZOE, NOBODY))
    assert done.returncode == 65  # EX_DATAERR; it sends nothing then
    assert "550 5.1.1" in done.stderr
    assert doors.arrived() == []


def test_msmtp_beyond_ascii(doors: ManyDoors) -> None:
    letter = f"From: <{WIDE}>\r\nSubject: Grüße\r\n\r\nGrüße\r\n"
    msmtp(doors, "plain", stdin=letter)  # 8 bits in the content alone
    assert the_letter(doors).endswith(letter.encode())
    done = msmtp_run(doors, "plain", f"--from={WIDE}", stdin=letter)
    if done.returncode == 0:
        assert doors.wait_for_event("Reception", reception_protocol="UTF8SMTP")
    else:  # a msmtp without libidn2 sends the address and does not say SMTPUTF8
        assert "553 5.6.7 8-bit address without SMTPUTF8" in done.stderr


def test_msmtp_describes_the_server_and_flushes_its_queue(doors: ManyDoors) -> None:
    said = msmtp(doors, "submission", "--serverinfo", to=())
    for words in ("STARTTLS", "SIZE 2097152:", "PIPELINING", "DSN", "ETRN", "PLAIN", "SCRAM-SHA-256", "CN=localhost"):
        assert words in said, said
    assert msmtp_run(doors, "plain", "--rmqs=athena.example", to=()).returncode == 0


# -- curl --


def curl(doors: ManyDoors, door: str, *options: str, code: int = 0, host: str = "localhost") -> str:
    """What it prints. ``code``: how it must end."""
    scheme = "smtps" if door.endswith("implicit") else "smtp"
    trust = ["--cacert", str(doors.certificate.file)]
    need = ["--ssl-reqd"] if door in ("tls", "required", "known", "submission", "implicit") else []
    url = f"{scheme}://{host}:{doors.port_of(door) if not door.endswith('socket') else 25}/client.example"
    command = [peer_program("curl", "curl"), "--silent", "--show-error", *trust, *need, url, *options]
    done = subprocess.run(command, input=LETTER.encode(), capture_output=True, timeout=60)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout.decode() + done.stderr.decode()


ENVELOPE = ("--mail-from", MARK, "--mail-rcpt", ZOE, "--upload-file", "-")


@pytest.mark.parametrize("door", ["tls", "required", "known", "implicit", "known_implicit"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_has_a_certificate(doors: ManyDoors, door: str, version: str) -> None:
    mine = ("--cert", str(doors.friend.certificate), "--key", str(doors.friend.private_key))
    curl(doors, door, *mine, f"--tlsv{version}", "--tls-max", version, *ENVELOPE)
    event = doors.wait_for_event("Reception", tls_protocol_version=f"TLSv{version}")
    if door.startswith("known"):
        assert event["tls_peer"] == "commonName=friend.example"
    assert the_letter(doors) == LETTER.encode()


def test_curl_is_shown_the_certificate_of_the_name_it_says(doors: ManyDoors) -> None:
    port = doors.port_of("tls")
    other = ("--cacert", str(doors.other.certificate), "--connect-to", f"{OTHER_NAME}:{port}:127.0.0.1:{port}")
    curl(doors, "tls", *other, *ENVELOPE, host=OTHER_NAME)
    assert len(doors.arrived()) == 1
    curl(doors, "tls", "--cacert", str(doors.other.certificate), *ENVELOPE, code=60)


@pytest.mark.parametrize("door", ["submission", "submission_implicit"])
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER", "PLAIN"])
@pytest.mark.parametrize("at_once", ["--sasl-ir", "--no-sasl-ir"])
def test_curl_logs_in(doors: ManyDoors, door: str, mechanism: str, at_once: str) -> None:
    secret = (
        ("--user", f"{MARK}:{PASSWORD}") if mechanism == "PLAIN" else ("--user", MARK, "--oauth2-bearer", "good-token")
    )
    curl(doors, door, *secret, "--login-options", f"AUTH={mechanism}", at_once, *ENVELOPE)
    assert doors.wait_for_event("Reception", submitter=MARK)
    assert the_letter(doors).endswith(LETTER.encode())


def test_curl_may_not_speak_for_another(doors: ManyDoors) -> None:
    login = ("--user", f"{MARK}:{PASSWORD}", "--login-options", "AUTH=PLAIN")
    curl(doors, "submission", *login, "--sasl-authzid", ZOE, *ENVELOPE, code=67)
    curl(doors, "submission", "--user", MARK, "--oauth2-bearer", "bad", *ENVELOPE, code=67)
    assert doors.arrived() == []


def test_curl_names_the_author(doors: ManyDoors) -> None:
    """AUTH= of MAIL, which curl writes in angle brackets."""
    curl(doors, "submission", "--user", f"{MARK}:{PASSWORD}", "--mail-auth", ZOE, *ENVELOPE)
    assert len(doors.arrived()) == 1


def test_curl_speaks_by_a_unix_socket_from_an_address_and_to_ipv6(doors: ManyDoors) -> None:
    curl(doors, "socket", "--unix-socket", doors.where("socket"), *ENVELOPE)
    curl(doors, "plain", "--interface", "127.0.0.12", "--ipv4", *ENVELOPE)
    curl(doors, "ipv6", *ENVELOPE, host="[::1]")
    assert len(doors.arrived()) == 3
    events = doors.wait_for_events(3, "Reception", reception_protocol="ESMTP")
    assert {event["peer_address"]["addr"] for event in events} == {"127.0.0.12", "::1", "unix"}


def test_curl_stands_behind_a_proxy(doors: ManyDoors) -> None:
    curl(doors, "proxied", "--haproxy-protocol", *ENVELOPE)
    assert len(doors.arrived()) == 1


def test_curl_sends_on_where_some_are_refused(doors: ManyDoors) -> None:
    some = ("--mail-rcpt", NOBODY)
    curl(doors, "plain", *some, *ENVELOPE, code=55)
    assert doors.arrived() == []
    curl(doors, "plain", *some, "--mail-rcpt-allowfails", *ENVELOPE)
    assert the_letter(doors) == LETTER.encode()


def test_curl_sends_several_on_one_connection(doors: ManyDoors, tmp_path: Path) -> None:
    letters = [f"Subject: {n}\r\n\r\n{n}\r\n".encode() for n in range(8)]
    for n, letter in enumerate(letters):
        (tmp_path / str(n)).write_bytes(letter)
    several = ("--upload-file", f"{tmp_path}/[0-7]", "--write-out", "%{num_connects}")
    assert curl(doors, "implicit", *ENVELOPE[:4], *several) == "10000000"
    assert sorted(below_trace(message) for message in doors.arrived()) == letters


def test_curl_asks(doors: ManyDoors) -> None:
    assert curl(doors, "told", "--mail-rcpt", ZOE).startswith("250")
    assert ZOE in curl(doors, "told", "--mail-rcpt", ZOE)
    assert curl(doors, "plain", "--mail-rcpt", ZOE).startswith("252")
    assert "EHLO" in curl(doors, "plain", "--request", "HELP")
    assert curl(doors, "told", "--request", "EXPN", "--mail-rcpt", NOBODY, code=8)
    assert curl(doors, "plain", "--request", "NOOP").startswith("250")


def test_curl_beyond_ascii(doors: ManyDoors) -> None:
    curl(doors, "plain", "--mail-from", WIDE, *ENVELOPE[2:])
    assert doors.wait_for_event("Reception", reception_protocol="UTF8SMTP")
    assert the_letter(doors) == LETTER.encode()
