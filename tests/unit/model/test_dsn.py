"""Delivery reports: what a person and a program can read in them, and what nobody can smuggle into them."""

import os
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from mta.model.dsn import HEADERS_LIMIT, build_dsn, status_of, to_xtext
from mta.model.message import Message, Recipient, RecipientState

SPOOL_ID = 1 << 59
BOUNDARY = "=_0G00000000000"
ARRIVAL, NOW = 1_795_484_322_000, 1_795_570_722_000
CORPUS = (
    Path(os.environ.get("MTA_CORPORA", Path(__file__).parents[4] / "shared/corpora")) / "reports-dsn/kumomta-rfc3464"
)
REFUSED = Recipient(
    "b@example.net",
    "example.net",
    RecipientState.FAILED,
    attempts=1,
    last_code=550,
    last_status="5.1.1",
    last_reply="no such user here",
    last_remote="mx.example.net",
    last_attempt=NOW - 1000,
)


def report(kind="failed", recipients=(REFUSED,), headers=b"Subject: hello\r\nFrom: a@x\r\n\r\nbody", **changes):
    facts = {"envid": None, "reverse_path": "a@example.org", "generated": False} | changes
    give_up_at = facts.pop("give_up_at", 0)
    message = Message(1, recipients=list(recipients), size=100, arrival=ARRIVAL, **facts)
    content = build_dsn(
        kind,
        message,
        recipients,
        hostname="hermes.example",
        now_ms=NOW,
        headers=headers,
        spool_id=SPOOL_ID,
        give_up_at=give_up_at,
    )
    assert content.endswith(b"\r\n")
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
    assert b"\0" not in content
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    return content


def parts(content):
    parsed = message_from_bytes(content, policy=policy.default)
    assert not parsed.defects
    text, status, headers = parsed.iter_parts()
    return parsed, text, status.get_payload(), headers


def test_a_program_finds_every_field_of_rfc_3464():
    parsed, _, (about_message, about_recipient), headers = parts(report())
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    assert parsed["To"] == "a@example.org"
    assert parsed["From"] == "Mail delivery <MAILER-DAEMON@hermes.example>"
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert parsed["Message-ID"] == "<0G00000000000@hermes.example>"
    assert parsedate_to_datetime(parsed["Date"]).timestamp() * 1000 == NOW
    assert about_message["Reporting-MTA"] == "dns; hermes.example"
    assert parsedate_to_datetime(about_message["Arrival-Date"]).timestamp() * 1000 == ARRIVAL
    assert dict(about_recipient) == {
        "Final-Recipient": "rfc822; b@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user here",
        "Last-Attempt-Date": about_recipient["Last-Attempt-Date"],
    }
    assert parsedate_to_datetime(about_recipient["Last-Attempt-Date"]).timestamp() * 1000 == NOW - 1000
    assert headers.get_content_type() == "text/rfc822-headers"
    assert "Subject: hello" in headers.get_payload()
    assert "body" not in headers.get_payload()


def test_a_person_reads_who_said_what_about_whom():
    _, text, _, _ = parts(report())
    said = text.get_content()
    assert "could not be delivered" in said
    assert "<b@example.net>\r\n    mx.example.net said: 550 5.1.1 no such user here" in said


def test_a_delay_says_until_when_it_is_tried():
    waiting = Recipient("b@example.net", "example.net", last_code=451, last_status="4.3.0", last_reply="later")
    parsed, text, (_, about), _ = parts(report("delayed", [waiting], give_up_at=NOW + 86_400_000))
    assert "still trying" in parsed["Subject"]
    assert about["Action"] == "delayed"
    assert about["Status"] == "4.3.0"
    assert parsedate_to_datetime(about["Will-Retry-Until"]).timestamp() * 1000 == NOW + 86_400_000
    assert about["Will-Retry-Until"] in text.get_content()


def test_what_we_found_out_ourselves_is_not_called_smtp():
    own = Recipient(
        "b@no.example", "no.example", RecipientState.FAILED, last_status="5.1.2", last_reply="no such domain"
    )
    _, _, (_, about), _ = parts(report(recipients=[own]))
    assert about["Diagnostic-Code"] == "x-hermes; no such domain"
    assert "Remote-MTA" not in about


def test_a_mailbox_on_this_machine_is_no_remote():
    """The path of the store's socket is nothing to tell a sender."""
    here = Recipient(
        "b@here.example", "here.example", RecipientState.FAILED, last_code=552, last_status="5.2.2",
        last_reply="the mailbox is full", last_remote="/var/lib/mta/lmtp.sock",
    )  # fmt: skip
    _, text, (_, about), _ = parts(report(recipients=[here]))
    assert "Remote-MTA" not in about
    assert about["Diagnostic-Code"] == "smtp; 552 5.2.2 the mailbox is full"
    assert "\r\n    552 5.2.2 the mailbox is full" in text.get_content()


def test_every_recipient_has_its_own_group():
    others = [Recipient(f"{name}@example.net", "example.net", RecipientState.FAILED) for name in "cde"]
    parsed, _, groups, _ = parts(report(recipients=[REFUSED, *others]))
    assert [group["Final-Recipient"][8:9] for group in groups[1:]] == ["b", "c", "d", "e"]
    assert parsed["Subject"].endswith("4 recipients")


def test_what_the_sender_gave_comes_back_decoded():
    asked = Recipient("b@example.net", "example.net", RecipientState.FAILED, orcpt="rfc822;old+2Bbox@example.net")
    _, _, (about_message, about), _ = parts(report(recipients=[asked], envid="QQ+3D314"))
    assert about_message["Original-Envelope-Id"] == "QQ=314"
    assert about["Original-Recipient"] == "rfc822; old+box@example.net"


@pytest.mark.parametrize(
    ("kind", "state", "noted", "reported"),
    [
        ("failed", RecipientState.FAILED, "5.7.1", "5.7.1"),
        ("failed", RecipientState.FAILED, "", "5.0.0"),
        ("failed", RecipientState.FAILED, "4.2.0", "5.0.0"),
        ("failed", RecipientState.FAILED, "5.1.1\r\nX: y", "5.0.0"),
        ("failed", RecipientState.EXPIRED, "4.4.1", "4.4.1"),
        ("failed", RecipientState.EXPIRED, "4.0.0", "4.4.7"),
        ("failed", RecipientState.EXPIRED, "", "4.4.7"),
        ("delayed", RecipientState.QUEUED, "4.2.2", "4.2.2"),
        ("delayed", RecipientState.QUEUED, "5.2.2", "4.0.0"),
    ],
)
def test_the_status_agrees_with_the_action(kind, state, noted, reported):
    assert status_of(kind, Recipient("b@x", "x", state, last_status=noted)) == reported


def test_an_expired_recipient_is_told_of_the_last_attempt():
    late = Recipient("b@x", "x", RecipientState.EXPIRED, last_reply="connection refused")
    assert (
        "Given up after too many attempts. The last one: connection"
        in parts(report(recipients=[late]))[1].get_content()
    )


HOSTILE = [
    "x\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; evil@x",
    "a\nb\rc\0d\x1b[31m\x85\u2028\u2029e",
    f"\r\n--{BOUNDARY}--\r\n",
    "ungültig \U0001f600",
    "w" * 5000,
    "word " * 1000,
    "; " * 500,
    "y" * 74 + "; " + "z" * 70,
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_a_remote_or_sender_wrote_leaves_its_place(text):
    hostile = Recipient(
        "b@example.net",
        "example.net",
        RecipientState.FAILED,
        last_code=550,
        last_reply=text,
        last_remote=text,
        last_status=text,
        orcpt=f"rfc822;{text}+0D+0AX-Evil:+20yes",
    )
    content = report(recipients=[hostile], envid=f"{text}+0D+0AX-Evil:+20yes")
    assert content.isascii()
    parsed, _, groups, _ = parts(content)
    assert len(groups) == 2
    assert "X-Evil" not in parsed
    for group in groups:
        assert "X-Evil" not in group
        assert group.get_all("Action", []) in ([], ["failed"])
    assert groups[1]["Status"] == "5.0.0"


def test_long_words_keep_their_field_and_nothing_is_cut_out():
    reply = "a" * 700 + " " + "b" * 250
    wordy = Recipient("b@x", "x", RecipientState.FAILED, last_code=550, last_status="5.0.0", last_reply=reply)
    _, _, (_, about), _ = parts(report(recipients=[wordy]))
    assert about["Diagnostic-Code"].split() == ["smtp;", "550", "5.0.0", "a" * 700, "b" * 250]


def test_only_so_much_of_the_header_section_comes_back():
    many = b"".join(b"X-%d: %s\r\n" % (i, b"v" * 50) for i in range(5000)) + b"\r\nbody"
    returned = parts(report(headers=many))[3].get_payload()
    assert HEADERS_LIMIT * 0.9 < len(returned) <= HEADERS_LIMIT
    assert returned.splitlines()[-1].endswith("v" * 50)


def test_octets_of_the_original_stay_in_their_part():
    odd = (
        b"Subject: \xfc\xff\r\nX: a\0b\rc\nY: --=_0G00000000000--\r\n--=_0G00000000000--\r\nLong: "
        + b"l" * 3000
        + b"\r\n\r\n"
    )
    content = report(headers=odd)
    parsed, _, _, headers = parts(content)
    assert parsed["Content-Transfer-Encoding"] == headers["Content-Transfer-Encoding"] == "8bit"
    assert parsed.get_boundary() == f"{BOUNDARY}="
    assert b"Subject: \xfc\xff\r\nX: a b c\r\nY: --=_0G00000000000--\r\n--=_0G00000000000--\r\nLong: l" in content


def test_a_message_without_headers_can_be_reported_too():
    for headers in (b"", b"\r\n\r\nbody", b"v" * 40000):
        assert len(parts(report(headers=headers))) == 4


@pytest.mark.parametrize("changes", [{"reverse_path": ""}, {"generated": True}, {"recipients": ()}, {"kind": "lost"}])
def test_there_are_no_reports_about_reports_or_to_nobody(changes):
    with pytest.raises(ValueError, match="report"):
        report(**changes)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real reports is not here")
def test_our_fields_are_those_of_real_reports():
    def fields(content):
        parsed = message_from_bytes(content, policy=policy.default)
        status = next(part for part in parsed.walk() if part.get_content_type() == "message/delivery-status")
        return parsed.get_content_type(), {name.lower() for group in status.get_payload() for name in group}

    real = [fields(file.read_bytes()) for file in sorted(CORPUS.glob("[12].eml"))]
    ours = fields(report(recipients=[REFUSED, Recipient("c@x", "x", RecipientState.FAILED, orcpt="rfc822;d@x")]))
    for kind, names in real:
        assert ours[0] == kind
        assert names <= ours[1] | {"arrival-date"}


# Reports of success, whole messages, and addresses beyond ASCII.


@pytest.mark.parametrize("kind", ["relayed", "delivered", "expanded"])
def test_success_is_told_as_what_it_is(kind: str):
    accepted = Recipient("b@example.net", "example.net", RecipientState.DELIVERED, last_code=250, last_status="2.6.0",
                         last_reply="queued", last_remote="mx.example.net")  # fmt: skip
    content = report(kind, [accepted])
    parsed, text, (_, about_recipient), _ = parts(content)
    assert about_recipient["Action"] == kind
    assert about_recipient["Status"] == ("2.0.0" if kind == "expanded" else "2.6.0")
    assert parsed["Subject"].lower().startswith(kind)
    assert ("queued" in text.get_content()) == (kind != "expanded")


ORIGINAL = b"Subject: hello\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + "Grüße\r\n".encode()


def report_of(original: bytes, **facts) -> bytes:
    message = Message(1, facts.pop("reverse_path", "a@example.org"), [REFUSED], 100, ARRIVAL, **facts)
    return build_dsn("failed", message, [REFUSED], hostname="hermes.example", now_ms=NOW, headers=original,
                     spool_id=SPOOL_ID, original=original)  # fmt: skip


def test_the_whole_message_comes_back_as_it_was():
    content = report_of(ORIGINAL)
    returned = list(message_from_bytes(content).walk())[-2]
    assert returned.get_content_type() == "message/rfc822"
    assert ORIGINAL in content


@pytest.mark.parametrize(
    "original",
    [b"a: b\r\n\r\n\0\r\n", b"a: b\r\n\r\nx\ny\r\n", b"a: b\r\n\r\n" + b"x" * 999 + b"\r\n", b"a: b\r\n\r\nx\r"],
)
def test_what_cannot_stand_in_a_report_gives_its_header_section(original: bytes):
    content = report_of(original)
    assert b"Content-Type: text/rfc822-headers" in content
    assert b"\r\n\r\na: b\r\n" in content
    assert b"xxxx" not in content


def test_a_boundary_in_the_returned_message_does_not_end_the_report():
    content = report_of(ORIGINAL + f"\r\n--{BOUNDARY}--\r\n".encode())
    parsed = message_from_bytes(content)
    assert not parsed.defects
    assert len(parsed.get_payload()) == 3


def test_an_address_beyond_ascii_is_told_in_ascii_to_an_ascii_address():
    person = Recipient("jürgen+x@köln.example", "köln.example", RecipientState.FAILED, orcpt=r"utf-8;\x{FC}@x.example")
    content = report("failed", [person])
    assert content.isascii()
    fields = parts(content)[2][1]
    assert fields["Final-Recipient"] == r"utf-8; j\x{FC}rgen\x{2B}x@k\x{F6}ln.example"
    assert fields["Original-Recipient"] == r"utf-8; \x{FC}@x.example"


def test_an_address_beyond_ascii_gets_a_wide_report():
    person = Recipient("jürgen@köln.example", "köln.example", RecipientState.FAILED)
    content = build_dsn("failed", Message(1, "ü@x.example", [person], 100, ARRIVAL, smtputf8=True), [person],
                        hostname="hermes.example", now_ms=NOW, headers="Subject: ü\r\n".encode(),
                        spool_id=SPOOL_ID)  # fmt: skip
    assert "To: <ü@x.example>\r\n".encode() in content
    assert b"report-type=global-delivery-status" in content
    assert "Final-Recipient: utf-8; jürgen@köln.example\r\n".encode() in content
    kinds = [part.get_content_type() for part in message_from_bytes(content).walk()]
    assert kinds[1:3] == ["text/plain", "message/global-delivery-status"]
    assert "message/global-headers" in kinds


def test_addresses_as_parameters_of_rcpt():
    assert to_xtext("a+b=c@x.example") == "rfc822;a+2Bb+3Dc@x.example"
    assert to_xtext('"a b"@x.example') == 'rfc822;"a+20b"@x.example'
    assert to_xtext("ü@x.example") == r"utf-8;\x{FC}@x.example"


@pytest.mark.parametrize("path", ["ü\r\nBcc: x@y", "ü\u2028x", "ü\udc80"])
def test_a_wide_report_keeps_every_line_in_its_place(path: str):
    content = build_dsn("failed", Message(1, path, [REFUSED], 100, ARRIVAL), [REFUSED], hostname="h", now_ms=NOW,
                        headers=b"", spool_id=SPOOL_ID)  # fmt: skip
    assert b"\nBcc" not in content
    content.decode()
