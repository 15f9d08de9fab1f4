"""People send with the clients that they have: smtplib, msmtp, swaks, curl, aiosmtplib; STARTTLS and implicit TLS."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiosmtplib
import pytest

from tests.harness.mail_house import DOMAIN, MARK, PEOPLE, ZOE, below_trace
from tests.harness.sinks import missing_peer, peer_program
from tests.harness.submission_house import SubmissionHouse

MESSAGE = f"From: <{MARK}>\r\nTo: <{ZOE}>\r\nSubject: a letter\r\n\r\nDear Zoe\r\n.\r\nMark\r\n".encode()
PASSWORD = PEOPLE[MARK]
TOKENS = """
async def verify(claim):
    return "mark@minasi.example" if claim.token == "good-token" else None
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SubmissionHouse]:
    directory = tmp_path_factory.mktemp("house")
    made = SubmissionHouse(directory)
    try:
        yield made.start()
        made.stop()
    finally:
        made.close()


@pytest.fixture(autouse=True)
def empty(house: SubmissionHouse) -> None:
    house.empty()


def run(*command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60)


def the_letter(house: SubmissionHouse, protocol: str = "ESMTPSA") -> bytes:
    """The one in Zoe's mailbox, below the trace; it must have come as a login's, by TLS."""
    event = house.wait_for_event("Reception", reception_protocol=protocol)
    house.wait_for_empty_queue()
    [message] = house.mailbox(ZOE)
    assert event["submitter"] == MARK
    assert event["reception_protocol"] == protocol
    assert f" with {protocol} id {event['id']}".encode() in message
    if protocol.endswith("SA"):
        version, cipher = event["tls_protocol_version"], event["tls_cipher"]
        assert version in ("TLSv1.2", "TLSv1.3")
        assert f"(version={version} cipher={cipher})".encode() in message
    assert PASSWORD.encode() not in message
    return below_trace(message)


@pytest.mark.parametrize("listener", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_smtplib(house: SubmissionHouse, listener: str, mechanism: str) -> None:
    with house.client(listener) as session:
        assert mechanism in session.esmtp_features["auth"].split()
        session.user, session.password = MARK, PASSWORD
        code, _ = session.auth(mechanism, getattr(session, f"auth_{mechanism.lower()}"))
        assert code == 235
        assert session.sendmail(MARK, [ZOE], MESSAGE) == {}
    letter = the_letter(house)
    assert letter.endswith(MESSAGE)
    added = letter.removesuffix(MESSAGE).decode().splitlines()
    assert [line.partition(":")[0] for line in added] == ["Date", "Message-ID"]


def test_smtplib_hears_that_a_password_is_wrong(house: SubmissionHouse) -> None:
    with house.client("starttls") as session, pytest.raises(smtplib.SMTPAuthenticationError) as raised:
        session.login(MARK, "wrong")
    assert raised.value.smtp_code == 535


def swaks(house: SubmissionHouse, listener: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    """One letter from Mark to Zoe; TLS as the listener has it."""
    program = peer_program("swaks", "swaks")
    tls = {"starttls": ["--tls"], "implicit": ["--tls-on-connect"], "clear": []}[listener]
    if tls and b"=== TLS supported" not in run(program, "--support").stdout:
        missing_peer("swaks with TLS", "libnet-ssleay-perl")
    return run(
        program, "--server", "127.0.0.1", "--port", str(house.port_of(listener)), *tls, "--auth-user", MARK,
        "--auth-password", PASSWORD, *options, "--from", MARK, "--to", ZOE, "--data", "-",
        stdin=MESSAGE.replace(b"\r\n", b"\n"),
    )  # fmt: skip


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("listener", ["starttls", "implicit", "clear"])
def test_swaks(house: SubmissionHouse, listener: str, mechanism: str) -> None:
    done = swaks(house, listener, "--auth", mechanism)
    assert done.returncode == 0, done.stdout.decode()
    assert b"Dear Zoe" in the_letter(house, "ESMTPA" if listener == "clear" else "ESMTPSA")


@pytest.mark.parametrize("options", [["--auth", "CRAM-MD5"], ["--auth", "PLAIN", "--auth-password", "no"]])
@pytest.mark.parametrize("listener", ["starttls", "clear"])
def test_swaks_is_told_why_not(house: SubmissionHouse, listener: str, options: list[str]) -> None:
    assert swaks(house, listener, *options).returncode == 28  # swaks: "no auth"


@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256", "on"])
@pytest.mark.parametrize("listener", ["starttls", "implicit"])
def test_msmtp(house: SubmissionHouse, tmp_path: Path, listener: str, mechanism: str) -> None:
    if mechanism.startswith("scram") and b"SCRAM-SHA-256" not in run("msmtp", "--version").stdout.upper():
        pytest.skip("this msmtp has no SCRAM-SHA-256")
    config = tmp_path / "msmtprc"
    config.write_text(
        f"account default\nhost 127.0.0.1\nport {house.port_of(listener)}\nfrom {MARK}\nauth {mechanism}\nuser {MARK}\n"
        f"password {PASSWORD}\ntls on\ntls_starttls {'off' if listener == 'implicit' else 'on'}\n"
        f"tls_trust_file {house.certificate.file}\ntls_host_override localhost\n"
    )
    config.chmod(0o600)
    done = run(peer_program("msmtp", "msmtp"), "-C", str(config), ZOE, stdin=MESSAGE.replace(b"\r\n", b"\n"))
    if b"tls_host_override" in done.stderr:
        pytest.skip("this msmtp cannot be told the name in the certificate")
    assert done.returncode == 0, done.stderr.decode()
    assert b"Dear Zoe" in the_letter(house)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("listener", ["starttls", "implicit"])
def test_curl(house: SubmissionHouse, tmp_path: Path, listener: str, mechanism: str) -> None:
    if mechanism.startswith("SCRAM") and b"GSASL" not in run("curl", "--version").stdout.upper():
        pytest.skip("this curl has no SCRAM (GSASL)")
    (tmp_path / "letter").write_bytes(MESSAGE)
    done = run(
        peer_program("curl", "curl"), "--silent", "--show-error", "--cacert", str(house.certificate.file),
        f"{'smtps' if listener == 'implicit' else 'smtp'}://localhost:{house.port_of(listener)}/client.example",
        "--ssl-reqd", "--user", f"{MARK}:{PASSWORD}", "--login-options", f"AUTH={mechanism}", "--mail-from", MARK,
        "--mail-rcpt", ZOE, "--upload-file", str(tmp_path / "letter"), "--ipv4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert the_letter(house).endswith(MESSAGE)


@pytest.mark.parametrize("listener", ["starttls", "implicit"])
async def test_aiosmtplib(house: SubmissionHouse, listener: str) -> None:
    implicit = listener == "implicit"
    await aiosmtplib.send(
        MESSAGE.decode(), sender=MARK, recipients=[ZOE], hostname="localhost", port=house.port_of(listener),
        username=MARK, password=PASSWORD, use_tls=implicit, start_tls=None if implicit else True,
        tls_context=house.certificate.context(),
    )  # fmt: skip
    assert b"Dear Zoe" in the_letter(house)


def test_where_it_is_allowed_a_password_goes_in_the_clear(house: SubmissionHouse) -> None:
    with house.client("clear") as session:
        session.login(MARK, PASSWORD)
        session.sendmail(MARK, [ZOE], MESSAGE)
    the_letter(house, "ESMTPA")


def test_where_it_is_not_no_password_is_asked_for(house: SubmissionHouse) -> None:
    with smtplib.SMTP("127.0.0.1", house.port_of("starttls"), "client.example") as session:
        session.ehlo()
        assert "PLAIN" not in session.esmtp_features.get("auth", "").split()
        assert session.docmd("AUTH", "PLAIN AG1hcmsAeA==")[0] == 538
        assert session.docmd("MAIL", f"FROM:<{MARK}>")[0] == 530


@pytest.mark.parametrize("listener", ["relay", "relay_required", "relay_implicit"])
def test_relaying_has_tls_and_no_logins(house: SubmissionHouse, listener: str) -> None:
    with house.client(listener) as session:
        assert not session.has_extn("auth")
        assert not session.has_extn("starttls")
        assert session.docmd("AUTH", "PLAIN AG1hcmsAeA==")[0] == 502
        assert session.sendmail("a@athena.example", [f"mark@{DOMAIN}"], MESSAGE) == {}
    event = house.wait_for_event("Reception", reception_protocol="ESMTPS")
    assert "submitter" not in event


def test_where_tls_is_required_little_can_be_said_before_it(house: SubmissionHouse) -> None:
    with smtplib.SMTP("127.0.0.1", house.port_of("relay_required"), "client.example") as session:
        session.ehlo()
        assert session.docmd("MAIL", "FROM:<a@athena.example>")[0] == 530
        assert session.docmd("VRFY", "mark")[0] == 530
        assert session.noop()[0] == 250
        assert session.docmd("HELP")[0] == 214
        session.starttls(context=house.certificate.context())
        session.ehlo()
        assert session.mail("a@athena.example")[0] == 250
