"""What the extensions tell policy and the shell: parameters, chunks, logins, TLS, and who is out of step."""

import base64

import pytest

from mta_ext.session import PENDING
from mta_ext.smtp_replies import without_codes
from mta_ext.smtp_server import EXTENSIONS, MailParameters, RcptParameters, SmtpServerSession
from tests.harness.recording_handler import LmtpHandler, RecordingHandler, new_session, settle

HELLO = b"EHLO c.example\r\n"
MAIL = b"MAIL FROM:<a@b.example>\r\n"
RCPT = b"RCPT TO:<c@d.example>\r\n"
ALL = {
    "extensions": EXTENSIONS,
    "mechanisms": ("PLAIN", "LOGIN"),
    "plaintext_login": True,
    "max_hold": 1000,
    "max_hold_until": "2027-01-01T00:00:00Z",
}


def started(data=HELLO, make=RecordingHandler, **options):
    """A greeted session that has read ``data``, its output taken."""
    session, handler = new_session(make, **ALL | options)
    session.greet()
    session.feed(data)
    session.take_output()
    return session, handler


def said(session, *pieces):
    for piece in pieces:
        session.feed(piece)
    return session.take_output()


# -- Parameters --


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", None),
        (b" SIZE=7 BODY=8BITMIME", None),
        (b" BODY=BINARYMIME", MailParameters(binary=True)),
        (b" SMTPUTF8 BODY=binarymime", MailParameters(binary=True, smtputf8=True)),
        (b" ret=full ENVID=a+2Bb", MailParameters(ret="FULL", envid="a+2Bb")),
        (b" BY=-20;nt", MailParameters(by=-20, by_mode="N", by_trace=True)),
        (b" BY=20;R MT-PRIORITY=-9", MailParameters(by=20, by_mode="R", priority=-9)),
        (b" MT-PRIORITY=0", MailParameters(priority=0)),
        (b" HOLDFOR=10", MailParameters(hold_for=10)),
        (b" HOLDUNTIL=2026-12-24T18:00:00.5z", MailParameters(hold_until="2026-12-24T18:00:00.5Z")),
        (b" AUTH=<>", MailParameters(auth="")),
        (b" AUTH=e+3Dmc2@x.example", MailParameters(auth="e=mc2@x.example")),
        (b" AUTH=<e+3Dmc2@x.example>", MailParameters(auth="e=mc2@x.example")),
        (b" REQUIRETLS", MailParameters(requiretls=True)),
    ],
)
def test_policy_sees_the_parameters_of_mail(text, expected):
    session, handler = started(secure=True)
    assert said(session, b"MAIL FROM:<a@b.example>" + text + b"\r\n") == b"250 2.1.0 ok\r\n"
    assert handler.parameters == [expected]


def test_size_and_body_are_told_beside_the_parameters():
    session, handler = started()
    session.feed(b"MAIL FROM:<a@b.example> RET=HDRS SIZE=77 BODY=8BITMIME\r\nRSET\r\n")
    session.feed(b"MAIL FROM:<a@b.example> SIZE=77 RET=HDRS BODY=BINARYMIME\r\n")
    assert [call for call in handler.calls if call[0] == "mail"] == [("mail", "a@b.example", "b.example", 77, True)] * 2
    assert handler.parameters == [MailParameters(ret="HDRS"), MailParameters(ret="HDRS", binary=True)]
    assert said(session, b"RSET\r\nMAIL FROM:<a@b.example> RET=HDRS SIZE=99999999999\r\n").endswith(
        b"552 5.3.4 message too large\r\n"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", None),
        (b" ", None),
        (b" notify=success,Delay", RcptParameters(notify="SUCCESS,DELAY")),
        (b" ORCPT=rfc822;A+2Bb@d.example NOTIFY=NEVER", RcptParameters("NEVER", "rfc822;A+2Bb@d.example")),
        (b" ORCPT=utf-8;\xc3\xa4@d.example", RcptParameters("", "utf-8;\xe4@d.example")),
        (b" ORCPT=utf-8;\\x{E4}@d.example", RcptParameters("", "utf-8;\\x{E4}@d.example")),
        (b" ORCPT=rfc822;" + b"x" * 493, RcptParameters("", "rfc822;" + "x" * 493)),
    ],
)
def test_policy_sees_the_parameters_of_rcpt(text, expected):
    session, handler = started(HELLO + b"MAIL FROM:<a@b.example> SMTPUTF8\r\n")
    assert said(session, b"RCPT TO:<c@d.example>" + text + b"\r\n") == b"250 2.1.5 ok\r\n"
    assert handler.parameters[1:] == [expected]


@pytest.mark.parametrize(
    "text", [b" ORCPT=rfc822;" + b"x" * 494, b" ORCPT=utf-8;\xc3\xa4+0A", b" ORCPT=utf-8;a=\xc3\xa4"]
)
def test_an_original_recipient_has_limits(text):
    session, _ = started(HELLO + b"MAIL FROM:<a@b.example> SMTPUTF8\r\n")
    assert said(session, b"RCPT TO:<c@d.example>" + text + b"\r\n") == b"501 5.5.4 syntax error in arguments\r\n"


def test_utf8_of_paths_is_told_as_text_and_only_ascii_is_put_in_lower_case():
    session, handler = started()
    session.feed("MAIL FROM:<P\u00e4ula@Gr\u00dcn.Example> SMTPUTF8\r\n".encode())
    session.feed("RCPT TO:<\u7528\u6237@\u4f8b\u3048.Example>\r\n".encode())
    assert handler.calls[1:] == [
        ("mail", "P\u00e4ula@Gr\u00dcn.Example", "gr\u00dcn.example", 0, False),
        ("rcpt", "\u7528\u6237@\u4f8b\u3048.Example", "\u4f8b\u3048.example"),
    ]


def test_utf8_ends_with_its_transaction():
    session, _ = started(HELLO + b"MAIL FROM:<a@b> SMTPUTF8\r\nRSET\r\n" + MAIL)
    assert said(session, b"RCPT TO:<\xc3\xa4@d>\r\n") == b"553 5.6.7 8-bit address without SMTPUTF8\r\n"


def test_a_name_that_is_no_extension_is_our_own_mistake():
    with pytest.raises(ValueError, match="'SISE' is no extension"):
        new_session(extensions=("SISE",))


@pytest.mark.parametrize(
    ("extensions", "left"),
    [(("SMTPUTF8",), b""), (("BINARYMIME",), b""), (("AUTH",), b""), (("FUTURERELEASE",), b""), (("HELP",), b"HELP")],
)
def test_an_extension_whose_condition_is_missing_is_not_offered(extensions, left):
    session, _ = new_session(extensions=extensions)
    session.greet()
    session.take_output()
    lines = said(session, HELLO).splitlines()[1:]
    assert lines == ([b"250 " + left] if left else [])


# -- Enhanced codes --


@pytest.mark.parametrize(
    ("reply", "bare"),
    [
        (b"", b""),
        (b"250 2.1.0 ok\r\n", b"250 ok\r\n"),
        (b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", b"550-no\r\n550 such user\r\n"),
        (b"250 2.1.5 a\r\n452 4.2.2 b\r\n550 c\r\n", b"250 a\r\n452 b\r\n550 c\r\n"),
        (b"250 2.0.0\r\n", b"250 \r\n"),
        (b"250-2.0.0\r\n250 2.0.0 \r\n", b"250-\r\n250 \r\n"),
        (b"250 2.123.456 x", b"250 x"),
        (b"250 2.0.0", b"250 "),
        (b"250-hermes.example greets you\r\n250 SIZE 2.0.0\r\n",) * 2,
        (b"250-2.0.0.example greets you\r\n250 x\r\n",) * 2,
        (b"354 3.0.0 go on\r\n",) * 2,
        (b"250 5.1.1 of another class\r\n",) * 2,
        (b"250 2.1234.0 x\r\n",) * 2,
        (b"250 2..0 x\r\n",) * 2,
        (b"25\r\n2\r\n\r\n",) * 2,
        (b"220x2.0.0 y\r\n",) * 2,
        (b"334 Mi4wLjA=\r\n",) * 2,
    ],
)
def test_a_reply_without_its_enhanced_code(reply, bare):
    assert without_codes(reply) == bare


@pytest.mark.parametrize("end", ["shut", "timed_out", "early", "errors"])
def test_last_words_are_without_enhanced_codes_too(end):
    session, _ = new_session(extensions=("PIPELINING",), errors=0, in_step=True)
    if end != "early":
        session.greet()
        session.take_output()
    session.feed(b"XYZZY\r\n")
    if end == "shut":
        session.shut(b"421 4.3.2 closing\r\n")
    elif end == "timed_out":
        session.timed_out()
    assert {line[:6] for line in session.take_output().splitlines()} <= {b"500 co", b"421 to", b"421 cl", b"554 wa"}
    assert session.closing


# -- Chunks --


def test_chunks_count_as_content_for_the_deadline():
    session, _ = started(HELLO + MAIL + RCPT + b"BDAT 10\r\n123")
    assert (session.in_content, session.content_octets, session.idle) == (True, 3, False)
    before = session.progress
    session.feed(b"4567890")
    assert (session.in_content, session.content_octets, session.idle) == (False, 10, False)
    assert session.progress > before
    session.feed(b"RSET\r\nBDAT 9\r\n12")
    assert (session.in_content, session.content_octets, session.idle) == (True, 2, False)
    session.feed(b"3456789")
    assert (session.in_content, session.content_octets, session.idle) == (False, 0, True)


def test_large_content_in_chunks_is_streamed():
    session, handler = started(HELLO + MAIL + RCPT, stream_above=300_000)
    lines = b"\r\n" + b"".join(b"%08d\r\n" % n for n in range(200_000))
    for at in range(0, len(lines), 700_001):
        piece = lines[at : at + 700_001]
        session.feed(b"BDAT %d\r\n" % len(piece))
        for begin in range(0, len(piece), 65_536):
            session.feed(piece[begin : begin + 65_536])
        assert session.take_output() == b"250 2.0.0 %d octets received\r\n" % len(piece)
    assert sum(map(len, handler.pieces)) > 1_500_000
    assert said(session, b"BDAT 0 LAST\r\n") == b"250 2.0.0 ok\r\n"
    assert handler.contents == [lines]
    assert handler.facts[0]["streamed"] > 1_500_000


@pytest.mark.parametrize(
    ("content", "kept", "dotted"),
    [
        (b"", b"", False),
        (b"x", b"x\r\n", False),
        (b".x\r\n", b".x\r\n", True),
        (b"x\r\n.\r\n..y", b"x\r\n.\r\n..y\r\n", True),
        (b"x.\r\n", b"x.\r\n", False),
    ],
)
def test_text_in_chunks_keeps_its_dots_and_gets_its_last_line_end(content, kept, dotted):
    session, handler = started(HELLO + MAIL + RCPT)
    assert said(session, b"BDAT %d LAST\r\n" % len(content), content) == b"250 2.0.0 ok\r\n"
    assert handler.contents == [kept]
    assert (handler.facts[0]["dotted"], handler.facts[0]["size"]) == (dotted, len(kept))


@pytest.mark.parametrize(
    ("limits", "content", "reply"),
    [
        ({"content_line": 20}, b"x" * 30, b"554 5.6.0 line too long\r\n"),
        ({"header_section": 30}, b"A: b\r\n" * 9, b"554 5.6.0 header section too large\r\n"),
        ({"hops": 1}, b"Received: x\r\n" * 2, b"554 5.4.6 too many hops\r\n"),
        ({"message_size": 10}, b"x" * 11, b"552 5.3.4 message too large\r\n"),
        ({"message_size": 10}, b"x" * 9, b"552 5.3.4 message too large\r\n"),
    ],
)
def test_chunks_have_the_limits_of_content(limits, content, reply):
    session, handler = started(HELLO + MAIL + RCPT, **limits)
    half = len(content) // 2
    session.feed(b"BDAT %d\r\n" % half + content[:half])
    session.take_output()
    assert said(session, b"BDAT %d LAST\r\n" % (len(content) - half), content[half:]) == reply
    assert [call[0] for call in handler.calls][-1] == "refused"
    assert said(session, RCPT) == b"503 5.5.1 bad sequence of commands\r\n"


def test_a_piece_that_cannot_be_taken_is_told_behind_its_chunk():
    session, handler = started(HELLO + MAIL + b"RCPT TO:<nopiece-@d>\r\n", stream_above=0)
    session.feed(b"BDAT 300000\r\n" + b"x\r\n" * 90_000)
    assert session.take_output() == b""
    assert said(session, b"x\r\n" * 10_000) == b"451 4.3.0 internal error\r\n"
    assert len(handler.errors) == 1
    assert said(session, b"BDAT 6 LAST\r\nQUIT\r\n") == b"503 5.5.1 bad sequence of commands\r\n"


@pytest.mark.parametrize(
    "size", [b"1_0", b"+1", b"-1", b"0x1", b"", b"1 ", b"\xd9\xa3", b"1\0", b"1\xff", b"1" * 21, b"1 LATER", b"1  LAST"]
)
def test_a_size_is_up_to_twenty_digits_and_all_else_ends_the_session(size):
    session, _ = started(HELLO + MAIL + RCPT)
    output = said(session, b"BDAT " + size + b"\r\nx", b"QUIT\r\n")
    if size == b"1 ":  # white space before the line's end is tolerated
        assert output.startswith(b"250 2.0.0 1 octets received\r\n")
    else:
        assert output in (
            b"501 5.5.4 syntax error in arguments\r\n",
            b"500 5.5.2 NUL or 8-bit octet in a command\r\n",
        )
    assert session.closing


@pytest.mark.parametrize("how", ["shut", "eof"])
@pytest.mark.parametrize("data", [b"BDAT 10\r\n12", b"BDAT 2\r\n12", b"RSET\r\nBDAT 10\r\n12"])
def test_a_session_may_end_in_any_chunk(how, data):
    session, handler = started(HELLO + MAIL + RCPT + data)
    session.shut(b"421 4.3.2 closing\r\n") if how == "shut" else session.eof()
    assert session.closing
    assert [call[0] for call in handler.calls].count("reset") == 1
    assert said(session, b"34567890QUIT\r\n") == (b"421 4.3.2 closing\r\n" if how == "shut" else b"")


@pytest.mark.parametrize("where", ["on_data", "on_piece", "on_content", "on_refused_content", "on_reset"])
@pytest.mark.parametrize("how", ["shut", "eof"])
def test_a_callback_may_end_the_session_in_a_chunk(where, how):
    handler = RecordingHandler()

    def end(*arguments):
        session.shut(b"421 4.3.2 closing\r\n") if how == "shut" else session.eof()

    setattr(handler, where, end)
    session = SmtpServerSession(handler, "hermes.example", stream_above=0, **ALL)
    session.greet()
    session.feed(HELLO)
    session.feed(MAIL + RCPT + b"BDAT 300000\r\n" + b"x\r\n" * 100_000)
    session.feed(b"BDAT 1%b\r\n\n" % (b" LAST" if where == "on_refused_content" else b""))
    session.feed(b"RSET\r\n" if where == "on_reset" else b"")
    if where == "on_content":
        session.feed(MAIL + RCPT + b"BDAT 0 LAST\r\n")
    assert session.closing
    assert session.take_output().endswith(b"\r\n") or how == "eof"
    session.feed(b"NOOP\r\n")
    assert session.take_output() == b""


def test_lmtp_answers_the_last_chunk_for_each_recipient():
    session, handler = started(b"LHLO c\r\n" + MAIL + RCPT + RCPT + b"BDAT 3\r\nx\r\n", LmtpHandler, lmtp=True)
    assert said(session, b"BDAT 0 LAST\r\n").count(b"250 2.1.5 c@d.example\r\n") == 2
    assert handler.contents == [b"x\r\n"]


# -- TLS and logins --


def test_tls_wipes_what_was_said_before_it():
    session, handler = started(HELLO + b"AUTH PLAIN " + base64.b64encode(b"\0john\0secret") + b"\r\n")
    assert (session.login_name, session.secure, session.esmtp) == ("john", False, True)
    session.feed(b"STARTTLS\r\n")
    assert session.wants_tls
    assert not session.idle
    session.tls_started()
    assert (session.login_name, session.secure, session.esmtp, session.hello_name) == ("", True, False, "")
    assert session.take_output() == b"220 2.0.0 ready to start TLS\r\n"
    assert said(session, MAIL) == b"503 5.5.1 EHLO or HELO first\r\n"
    assert b"STARTTLS" not in said(session, HELLO)
    with pytest.raises(RuntimeError, match="nobody asked for TLS"):
        session.tls_started()
    assert [call[0] for call in handler.calls] == ["hello", "sasl", "starttls", "hello"]


@pytest.mark.parametrize("behind", [b"RSET\r\n", b"EHLO x\r\n", b"\x16\x03\x01", b"R"])
def test_what_comes_in_the_clear_behind_starttls_is_never_read(behind):
    for pieces in ([b"STARTTLS\r\n" + behind], [b"STARTTLS\r\n", behind]):
        session, handler = started(in_step=True)
        assert said(session, *pieces) == b"220 2.0.0 ready to start TLS\r\n"
        assert (session.closing, session.wants_tls) == (True, False)
        assert [call[0] for call in handler.calls] == ["hello", "starttls"]


def test_tls_may_be_unavailable_for_the_moment():
    session, handler = started()
    handler.starttls_reply = b"454 4.7.0 TLS not available\r\n"
    assert said(session, b"STARTTLS\r\n") == b"454 4.7.0 TLS not available\r\n"
    assert not session.wants_tls
    assert said(session, MAIL) == b"250 2.1.0 ok\r\n"


def test_the_login_is_told_only_while_it_is_decided():
    session, _ = started()
    with pytest.raises(RuntimeError, match="nobody is logging in"):
        session.log_in("john")
    session.shut(b"421 4.3.2 closing\r\n")
    session.log_in("john")
    assert session.login_name == ""


def test_a_step_counts_the_responses_of_an_exchange():
    steps = []

    class Counting(RecordingHandler):
        def on_sasl(self, mechanism, response):
            steps.append((self.session.exchange_step, response))
            return b"334 \r\n"

    session, _ = started(make=Counting)
    session.feed(b"AUTH PLAIN =\r\n")
    session.feed(b"\r\n")
    session.feed(b"eA==\r\n")
    session.feed(b"*\r\n")
    session.feed(b"AUTH LOGIN\r\n")
    assert steps == [(0, b""), (1, b""), (2, b"x"), (0, None)]


def test_a_login_outlives_hello_and_reset():
    session, _ = started(HELLO + b"AUTH PLAIN " + base64.b64encode(b"\0john\0secret") + b"\r\nRSET\r\n" + HELLO)
    assert session.login_name == "john"


def test_a_client_that_a_proxy_stands_for_may_be_logged_in():
    session, handler = started()
    assert said(session, b"XCLIENT LOGIN=john+2Bx ADDR=IPv6:2001:DB8::1 NAME=[unavailable] PROTO=smtp\r\n") == (
        b"220 hermes.example ESMTP Hermes\r\n"
    )
    assert (session.login_name, session.hello_name, session.esmtp) == ("john+x", "", False)
    assert handler.calls[-1][1] == {
        "LOGIN": "john+x",
        "ADDR": "2001:db8::1",
        "NAME": "[UNAVAILABLE]",
        "PROTO": "SMTP",
    }
    assert said(session, HELLO + b"XCLIENT ADDR=192.0.2.1\r\n").endswith(b"220 hermes.example ESMTP Hermes\r\n")
    assert session.login_name == ""


def test_a_handler_need_not_have_methods_for_extensions():
    class Plain:
        def __init__(self):
            inner = RecordingHandler()
            for name in ["hello", "mail", "rcpt", "data", "piece", "content", "refused_content", "reset"]:
                setattr(self, f"on_{name}", getattr(inner, f"on_{name}"))

    session, _ = started(make=Plain)
    replies = said(
        session,
        b"VRFY a\r\nEXPN a\r\nETRN a\r\nXCLIENT ADDR=192.0.2.1\r\nXFORWARD ADDR=192.0.2.1\r\n",
        b"AUTH PLAIN\r\nSTARTTLS\r\n",
    ).splitlines()
    assert [reply[:3] for reply in replies] == [b"252", b"502", b"459", b"550", b"550", b"502", b"220"]


# -- Step --


def test_octets_that_came_before_the_greeting_end_the_session_also_without_a_line_end():
    session, handler = new_session(in_step=True)
    session.feed(b"EHL")
    session.greet()
    assert session.take_output() == b"554 5.5.0 wait for the greeting\r\n"
    assert session.closing
    assert handler.calls == []


@pytest.mark.parametrize("verdict", [None, b"550 5.7.1 no\r\n"])
@pytest.mark.parametrize("in_step", [True, False])
def test_content_that_comes_while_data_is_decided_did_not_wait(verdict, in_step):
    class Pending(RecordingHandler):
        def on_data(self):
            return PENDING

    session, handler = started(make=Pending, in_step=in_step)
    session.feed(MAIL + RCPT + b"DATA\r\n")
    session.take_output()
    session.feed(b"RSET\r\n")
    session.answer(verdict)
    if verdict is None and not in_step:
        assert session.take_output().startswith(b"354 ")
        return
    assert session.take_output() == b"554 5.5.0 improper command pipelining\r\n"
    assert session.closing
    assert [call[0] for call in handler.calls].count("reset") == 1


@pytest.mark.parametrize("in_step", [True, False])
def test_content_behind_a_data_whose_policy_raises_is_not_read_as_commands(in_step):
    session, handler = started(in_step=in_step)
    session.feed(MAIL + b"RCPT TO:<nodata-raises@d>\r\n")
    session.take_output()
    assert said(session, b"DATA\r\nVRFY x\r\n.\r\n") == b"554 5.5.0 improper command pipelining\r\n"
    assert session.closing
    assert "verify" not in [call[0] for call in handler.calls]


def test_clients_that_pipeline_as_they_may_are_never_hurt():
    """RFC 2920 §3.1: any group whose last command is DATA; chunks need not wait at all."""
    session, handler = started(make=lambda: RecordingHandler(pending=True), in_step=True)
    settle(session, handler)
    for group in (
        MAIL + RCPT + RCPT + b"DATA\r\n",
        b"x\r\n.\r\n" + MAIL + RCPT + b"DATA\r\n",
        b"x\r\n.\r\nRSET\r\n" + MAIL + RCPT + b"BDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\n" + MAIL + RCPT,
        b"BDAT 0 LAST\r\nNOOP\r\nVRFY x\r\n" + MAIL + b"RCPT TO:<refused@d>\r\nDATA\r\n",
        b"RSET\r\nQUIT\r\n",
    ):
        session.feed(group)
        settle(session, handler)
    assert session.bye
    assert b"554 5.5.0" not in session.take_output()
    assert handler.contents == [b"x\r\n", b"x\r\n", b"x\r\ny\r\n", b""]
