"""The POP3 tests of curl's own suite, curl's command as it stands there, against our server instead of curl's scripted
one: the same commands on the wire, the same exit code, the same message.

Message numbers and login names are ours, since there the number of the test is a message and ``user`` a mailbox. Where
the scripted server offers no SASL, curl says USER and PASS; it finds that ours does and says AUTH PLAIN instead. curl
does not always show QUIT; that it came is seen where a message is deleted. ``DOES_NOT_APPLY`` says why each of the
others is not here; together they are all.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.harness.corpora import CORPORA
from tests.harness.curl_tests import CurlTest, expanded, pop3_tests, words
from tests.harness.mail_house import DOMAIN, MailHouse, below_trace
from tests.harness.pop3_clients import Account, run
from tests.harness.sinks import peer_program

NAMES = {"user": "secret", "user.one": "secret", "user.two": "secret", "kurt": "xipj3plmq"}
#: Where it matters; two elsewhere.
MESSAGES = {854: 0, 993: 1000}
NO_SUCH_MESSAGE = 8  # curl: a weird server reply; the message that is asked for must not be there

APPLIES = (
    480, 850, 851, 852, 853, 854, 855, 856, 857, 858, 859, 860, 861, 862, 863, 865, 866, 871, 872, 875, 882, 893,
    894, 989, 993, 1407,
)  # fmt: skip

_MECHANISM = "the login is by a mechanism that we do not offer, and that its server must"
_CANCEL = "its server sends rubbish as a challenge; the client gives up. We offer no mechanism that begins with one"
_FAULTY = "its server breaks the protocol, to see what the client does"
DOES_NOT_APPLY = {
    864: "APOP, which is refused by design",
    867: f"CRAM-MD5: {_MECHANISM}",
    868: f"NTLM: {_MECHANISM}",
    869: f"DIGEST-MD5: {_MECHANISM}",
    870: f"XOAUTH2: {_MECHANISM}",
    873: f"NTLM: {_MECHANISM}",
    874: f"XOAUTH2: {_MECHANISM}",
    876: f"CRAM-MD5: {_CANCEL}",
    877: f"NTLM: {_CANCEL}",
    878: f"DIGEST-MD5: {_CANCEL}",
    879: f"CRAM-MD5, then PLAIN: {_CANCEL}",
    880: f"NTLM, then PLAIN: {_CANCEL}",
    881: f"DIGEST-MD5, then PLAIN: {_CANCEL}",
    883: f"EXTERNAL: {_MECHANISM}",
    884: f"EXTERNAL: {_MECHANISM}",
    885: f"EXTERNAL: {_MECHANISM}",
    886: f"EXTERNAL: {_MECHANISM}",
    887: f"OAUTHBEARER: {_MECHANISM}",
    888: f"OAUTHBEARER: {_MECHANISM}",
    889: f"OAUTHBEARER: {_MECHANISM}",
    890: f"OAUTHBEARER: {_MECHANISM}",
    891: f"CRAM-MD5: {_FAULTY} (an empty challenge, ended by LF alone)",
    892: "one person logs in to another's mailbox (authorization identity); here that is refused, as in 893",
    982: f"{_FAULTY} (it refuses STLS and pipelines replies behind)",
    985: f"{_FAULTY} (it has no CAPA)",
    997: "curl before 8.14 waits for a second line of STAT's reply, which no server sends",
    1319: "the way there is an HTTP proxy of curl's own test suite",
}

TESTS = pop3_tests() if (CORPORA / "curl-mail-tests").is_dir() else {}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailHouse]:
    people = {f"{name}@{DOMAIN}": password for name, password in NAMES.items()}
    started = MailHouse(tmp_path_factory.mktemp("house"), people)
    try:
        yield started.start()
        started.stop()
    finally:
        started.close()


def test_every_pop3_test_is_replayed_or_has_its_reason() -> None:
    assert sorted([*APPLIES, *DOES_NOT_APPLY]) == sorted(pop3_tests())


def macros(house: MailHouse, test: CurlTest, directory: Path) -> dict[str, str]:
    number = "3" if test.exit_code == NO_SUCH_MESSAGE else "1"
    return {
        "HOSTIP": "127.0.0.1",
        "POP3PORT": str(house.pop3_port),
        "POP3SPORT": str(house.pop3s_port),
        "LOGDIR": str(directory),
        "TESTNUMBER00": "",  # 882 has messages %TESTNUMBER001 and 2
        "TESTNUMBER": number,
    }


def named(text: str) -> str:
    """Login names as the addresses that they are here."""
    names = "|".join(re.escape(name) for name in sorted(NAMES, key=len, reverse=True))
    places = rf"(?<=-u )({names})(?=:)|(?<=USER )({names})$|(?<=00)({names})(?=%00)|(?<=b64\[)({names})(?=\])"
    return re.sub(places, rf"\g<0>@{DOMAIN}", text)


def refilled(house: MailHouse, test: CurlTest) -> None:
    """Every mailbox holds what this test needs, and nothing else."""
    content = test.mail if test.mail.startswith(b"From: ") else b"Subject: any\r\n\r\nx\r\n"
    house.empty()
    for name in NAMES:
        wanted = MESSAGES.get(test.number, 2) if name == "user" else 2
        house.fill([content] * wanted, f"{name}@{DOMAIN}")


def expected_output(house: MailHouse, last: str) -> bytes:
    """What the last command has to bring, as the mailbox itself says it."""
    with house.pop3(f"user@{DOMAIN}") as session:
        if last in ("LIST", "UIDL"):
            return session.content(last)
        return session.content(last) if last.startswith("TOP ") else b""


def by_sasl(lines: Iterable[str]) -> Iterator[str]:
    """With AUTH PLAIN for USER and PASS, and without QUIT."""
    user = ""
    for line in lines:
        verb, _, argument = line.partition(" ")
        if verb == "USER":
            user = argument
        elif verb == "PASS":
            yield "AUTH PLAIN"
            yield b64encode(f"\0{user}\0{argument}".encode()).decode()
        elif verb != "QUIT":
            yield line


@pytest.mark.parametrize("number", APPLIES, ids=lambda number: f"{number} {TESTS[number].name}" if TESTS else number)
def test_curl_is_satisfied(house: MailHouse, tmp_path: Path, number: int) -> None:
    test = pop3_tests()[number]
    refilled(house, test)
    known = macros(house, test, tmp_path)
    for name, text in re.findall(r'<file name="%LOGDIR/(\S+?)" >\n(.*?)</file>', test.text, re.DOTALL):
        (tmp_path / expanded(name, known)).write_text(expanded(text, known))
    told = words(expanded(named(test.command), known))
    mechanism = ["--login-options", f"AUTH={test.offers[0]}"] if test.offers else []
    said = list(by_sasl(expanded(named(line), known) for line in test.protocol))
    account = Account(tmp_path, house.pop3_port, "", "")
    done = run(account, [peer_program("curl", "curl"), "--silent", "--show-error", "--verbose", *mechanism, *told])
    assert done.returncode == test.exit_code, done.stderr.decode()
    shown = re.findall(r"^> (.*)$", done.stderr.decode().replace("\r", ""), re.MULTILINE)
    commands = [line for line in shown if line != "QUIT"]
    assert commands == (said or commands[:1]), "where nothing is to be said, CAPA may be"
    fetches = [line for line in said if line.startswith("RETR ")]
    if fetches and test.exit_code == 0:
        messages = done.stdout.split(b"Return-Path: ")[1:]
        assert [below_trace(b"Return-Path: " + message) for message in messages] == [test.mail] * len(fetches)
    elif said:
        printed = b"" if done.stdout == b"\r\n" else done.stdout  # of a listing of nothing, by any server
        assert printed == expected_output(house, said[-1])
    if number == 858:
        assert house.count(f"user@{DOMAIN}") == 1
