"""The server session beyond its dialogues: late decisions, calls from inside callbacks, broken policy, last words."""

import gc
import sys
import weakref

import pytest

from mta_ext.session import PENDING
from mta_ext.smtp_server import SmtpServerSession
from tests.harness.recording_handler import PolicyBroke, RecordingHandler, new_session, play, settle

HELLO = b"EHLO c.example\r\n"
MAIL = b"MAIL FROM:<a@b.example>\r\n"
RCPT = b"RCPT TO:<c@d.example>\r\n"
TO_CONTENT = HELLO + MAIL + RCPT + b"DATA\r\n"
GREETING = b"220 hermes.example ESMTP Hermes\r\n"


def started(data=b"", handler=None, **limits):
    """A greeted session that has read ``data``, its output taken."""
    session, handler = new_session(lambda: handler or RecordingHandler(), **limits)
    play(session, handler, [data])
    return session, handler


def names(handler):
    return [call[0] for call in handler.calls]


def test_policy_sees_paths_domains_and_parameters():
    _, handler = started(
        b"HELO one.example\r\nEHLO [IPv6:::1]\r\nMAIL FROM:<Paula@B.Example> SIZE=123 BODY=8BITMIME\r\n"
        b'RCPT TO:<"a b"@D.example>\r\nRCPT TO:<postmaster>\r\n'
    )
    assert handler.calls == [
        ("hello", "HELO", "one.example"),
        ("hello", "EHLO", "[IPv6:::1]"),
        ("mail", "Paula@B.Example", "b.example", 123, True),
        ("rcpt", '"a b"@D.example', "d.example"),
        ("rcpt", "postmaster", "hermes.example"),
    ]


def test_extensions_are_said_as_configured_and_their_parameters_follow():
    session, handler = new_session(extensions=("PIPELINING",))
    assert play(session, handler, [HELLO + b"MAIL FROM:<a@b> SIZE=1\r\nMAIL FROM:<a@b> BODY=7BIT\r\n"]) == (
        GREETING
        + b"250-hermes.example greets c.example\r\n250 PIPELINING\r\n"
        + b"555 parameter not recognized or not implemented\r\n" * 2
    )
    session, handler = new_session(extensions=())
    assert play(session, handler, [HELLO]) == GREETING + b"250 hermes.example greets c.example\r\n"


def test_the_session_tells_its_shell_where_it_stands():
    session, _handler = new_session()
    assert session.idle
    session.greet()
    session.feed(HELLO)
    assert (session.idle, session.esmtp, session.hello_name) == (True, True, "c.example")
    before = session.progress
    session.feed(b"NO")
    assert (session.idle, session.buffered, session.progress) == (False, 2, before)
    session.feed(b"OP\r\n")
    assert (session.idle, session.buffered) == (True, 0)
    assert session.progress > before
    session.feed(MAIL)
    assert not session.idle
    session.feed(RCPT + b"DATA\r\n")
    assert (session.in_content, session.content_octets) == (True, 0)
    session.feed(b"..dots count\r\n")
    assert (session.in_content, session.content_octets) == (True, 14)
    session.feed(b".\r\n")
    assert (session.in_content, session.content_octets, session.idle) == (False, 0, True)
    session.feed(b"QUIT\r\n")
    assert (session.closing, session.idle, session.wants_tls) == (True, True, False)


def test_pending_content_is_neither_idle_nor_in_content():
    session, _ = started()
    session.feed(TO_CONTENT.replace(b"c@d", b"nocontent-waits@d") + b"x\r\n.\r\n")
    assert (session.pending, session.in_content, session.idle, session.content_octets) == (True, False, False, 6)


def test_input_is_kept_while_a_decision_is_pending_and_then_parsed_in_order():
    session, _handler = new_session()
    session.greet()
    session.feed(HELLO + b"MAIL FROM:<waits@b>\r\nNOOP\r\n")
    assert session.pending
    assert session.buffered == 6
    session.feed(b"FOO\r\nQU")
    session.feed(b"IT\r\n")
    assert session.buffered == 17
    session.take_output()
    session.answer(b"250 2.1.0 well\r\n")
    assert session.take_output() == (
        b"250 2.1.0 well\r\n250 2.0.0 ok\r\n500 5.5.1 command not recognized\r\n221 2.0.0 bye\r\n"
    )
    assert session.buffered == 0


def test_many_pipelined_transactions_are_settled_one_by_one():
    session, handler = new_session()
    one = MAIL + RCPT.replace(b"c@d", b"nocontent-waits@d") + b"DATA\r\nhello\r\n.\r\n"
    session.greet()
    session.feed(HELLO + one * 50)
    for _ in range(25):
        session.answer(None)
    session.feed(one * 10)  # behind a tail that is half settled
    settle(session, handler)
    assert handler.contents == [b"hello\r\n"] * 60
    assert session.take_output().count(b"250 2.0.0 ok\r\n") == 60
    assert session.buffered == 0


def test_a_callback_may_answer_before_it_returns_pending():
    class Eager(RecordingHandler):
        def on_mail(self, *arguments):
            session.answer(b"250 2.1.0 early\r\n")
            with pytest.raises(RuntimeError, match="no decision"):
                session.answer(b"250 2.1.0 twice\r\n")
            return PENDING

    session, handler = new_session(Eager)
    assert play(session, handler, [HELLO + MAIL + RCPT]).endswith(b"250 2.1.0 early\r\n250 2.1.5 ok\r\n")


def test_an_answer_that_nobody_waits_for_is_our_own_mistake():
    session, _ = started(HELLO)
    with pytest.raises(RuntimeError, match="no decision"):
        session.answer(b"250 ok\r\n")


def test_what_a_callback_feeds_comes_behind_what_is_being_parsed():
    class Feeding(RecordingHandler):
        def on_mail(self, *arguments):
            session.feed(b"VRFY x\r\n")
            session.feed(b"QU")
            return super().on_mail(*arguments)

    for pieces in ([HELLO + MAIL + b"VRFY y\r\nNO"], [HELLO + MAIL[:5], MAIL[5:] + b"VRFY y\r\nNO"]):
        session, handler = new_session(Feeding)
        replies = play(session, handler, pieces).partition(b"2.1.0 ok\r\n")[2]
        assert replies == b"252 2.1.5 cannot verify, but send some mail and see\r\n500 5.5.1 command not recognized\r\n"
        assert session.buffered == 2


def test_what_on_reset_feeds_waits_until_the_reply_is_out():
    class Feeding(RecordingHandler):
        def on_reset(self):
            session.feed(b"VRFY y\r\n")

    session, _handler = new_session(Feeding)
    session.greet()
    session.feed(HELLO + MAIL + b"EHLO waits.example\r\n")
    session.take_output()
    session.answer(b"250 welcome back\r\n")
    assert session.take_output() == b"250 welcome back\r\n252 2.1.5 cannot verify, but send some mail and see\r\n"


@pytest.mark.parametrize(
    "where",
    [
        "on_hello",
        "on_mail",
        "on_rcpt",
        "on_data",
        "on_content",
        "on_piece",
        "on_refused_content",
    ],
)
@pytest.mark.parametrize("how", ["shut", "eof"])
def test_a_callback_may_end_the_session(where, how):
    handler = RecordingHandler()

    def end(*arguments):
        if how == "shut":
            session.shut(b"421 4.3.2 closing\r\n")
        else:
            session.eof()

    setattr(handler, where, end)
    session = SmtpServerSession(handler, "hermes.example", stream_above=0, message_size=10_000_000, in_step=False)
    session.greet()
    session.feed(TO_CONTENT)
    session.feed(b"x" * 50_000 + b"\r\n" + (b"y" * 60_000 + b"\r\n") * 10)
    session.feed(b"\n" * (where == "on_refused_content") + b"\r\n.\r\n" + MAIL + RCPT)
    assert session.closing
    output = session.take_output()
    assert output.endswith(b"421 4.3.2 closing\r\n") if how == "shut" else output == b""
    assert session.buffered == 0
    session.feed(b"NOOP\r\n")
    assert session.take_output() == b""


@pytest.mark.parametrize(
    "last",
    [
        b"EHLO waits\r\n",
        MAIL.replace(b"a@", b"waits@"),
        MAIL + RCPT.replace(b"c@", b"waits@"),
        MAIL + RCPT.replace(b"c@", b"nodata-waits@") + b"DATA\r\n",
    ],
)
@pytest.mark.parametrize("how", ["shut", "eof"])
def test_an_answer_after_the_end_is_ignored(last, how):
    session, handler = new_session()
    session.greet()
    session.feed(HELLO + last + b"NOOP\r\n")
    assert session.pending
    session.take_output()
    if how == "shut":
        session.shut(b"421 4.3.2 bye\r\n")
    else:
        session.eof()
    assert not session.pending
    session.answer(b"250 ok\r\n")
    assert session.take_output() == (b"421 4.3.2 bye\r\n" if how == "shut" else b"")
    assert names(handler).count("reset") == (0 if b"waits\r\n" in last else 1)
    session.shut(b"421 again\r\n")
    session.eof()
    assert session.take_output() == b""


def test_content_that_was_handed_over_goes_its_way_after_the_connection_is_lost():
    kept = []

    class Keeping(RecordingHandler):
        def on_content(self, content):
            kept.append(content)
            return PENDING

    session, handler = new_session(Keeping)
    session.greet()
    session.feed(TO_CONTENT + b"hello\r\n.\r\n")
    session.eof()
    assert "reset" not in names(handler)
    assert kept[0].joined(b"T: ") == b"T: hello\r\n"
    session.answer(b"250 2.0.0 queued\r\n")
    assert session.take_output() == b""


@pytest.mark.parametrize("data", [MAIL, MAIL + RCPT, MAIL + RCPT + b"DATA\r\n", MAIL + RCPT + b"DATA\r\nhalf a line"])
def test_losing_the_connection_takes_the_open_transaction_away(data):
    session, handler = started(HELLO + data)
    session.eof()
    assert names(handler)[-1] == "reset"
    assert names(handler).count("reset") == 1


def test_a_peer_that_speaks_first_is_sent_away():
    session, handler = new_session()
    session.feed(HELLO)
    assert session.take_output() == b"554 5.5.0 wait for the greeting\r\n"
    assert session.closing
    session.greet()
    assert session.take_output() == b""
    assert handler.calls == []


def test_a_greeting_comes_once():
    session, _ = started()
    with pytest.raises(AssertionError, match="GREETED cannot follow GREETED"):
        session.greet()


@pytest.mark.parametrize(
    ("rcpt", "data"),
    [
        (b"raises@d", b""),
        (b"nodata-raises@d", b"DATA\r\n"),
        (b"nocontent-raises@d", b"DATA\r\nx\r\n.\r\n"),
    ],
)
def test_what_policy_raises_costs_the_transaction_and_is_reported(rcpt, data):
    session, handler = started(HELLO)
    session.feed(MAIL + b"RCPT TO:<" + rcpt + b">\r\n" + data)
    session.feed(RCPT + MAIL)
    assert session.take_output().endswith(
        b"451 4.3.0 internal error\r\n503 5.5.1 bad sequence of commands\r\n250 2.1.0 ok\r\n"
    )
    assert [type(error) for error in handler.errors] == [PolicyBroke]
    assert names(handler).count("reset") == (0 if "content" in names(handler) else 1)


def test_a_piece_that_cannot_be_taken_is_told_after_the_end_of_content():
    session, handler = started(TO_CONTENT.replace(b"c@d", b"nopiece-@d"), stream_above=0)
    for _ in range(30):
        session.feed(b"x" * 49_998 + b"\r\n")
    assert session.take_output() == b""
    session.feed(b".\r\n" + RCPT)
    assert session.take_output() == b"451 4.3.0 internal error\r\n503 5.5.1 bad sequence of commands\r\n"
    assert len(handler.errors) == 1
    assert names(handler)[-1] == "refused"


def test_without_on_error_the_interpreter_is_told(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(args.exc_value))

    class Silent(RecordingHandler):
        on_error = None

    class Worse(RecordingHandler):
        def on_error(self, error):
            raise PolicyBroke("on_error too")

    for kind in (Silent, Worse):
        session, handler = new_session(kind)
        replies = play(session, handler, [b"EHLO raises\r\nNOOP\r\n"])
        assert replies.endswith(b"451 4.3.0 internal error\r\n250 2.0.0 ok\r\n")
    assert [str(error) for error in seen] == ["raises", "on_error too"]


@pytest.mark.parametrize("verdict", [b"", b"25", "250 ok\r\n", True, 250])
def test_a_verdict_that_is_no_reply_is_an_error_of_policy(verdict):
    class Wrong(RecordingHandler):
        def on_mail(self, *arguments):
            return verdict

    session, handler = started(HELLO, Wrong())
    session.feed(MAIL + MAIL)
    assert session.take_output() == b"451 4.3.0 internal error\r\n" * 2
    assert len(handler.errors) == 2


def test_what_on_reset_and_on_refused_content_raise_changes_nothing():
    class Broken(RecordingHandler):
        def on_reset(self):
            raise PolicyBroke("reset")

        def on_refused_content(self):
            raise PolicyBroke("refused")

    session, handler = started(
        TO_CONTENT + b"xx\r\n.\r\n" + MAIL + b"RSET\r\n" + MAIL + b"QUIT\r\n", Broken(), message_size=3
    )
    assert session.closing
    assert [str(error) for error in handler.errors] == ["refused", "reset", "reset"]


def test_a_refusal_by_policy_counts_as_an_error_and_a_soft_one_does_not():
    session, _ = started(HELLO + MAIL + b"RCPT TO:<later@d>\r\n" * 10, errors=2)
    assert not session.closing
    session.feed(b"RCPT TO:<refused@d>\r\n" * 3 + b"NOOP\r\n")
    assert session.take_output() == b"550 5.1.1 no such user\r\n" * 3 + b"421 4.7.0 too many errors\r\n"
    assert session.closing


def test_a_finished_connection_leaves_nothing_for_the_collector():
    gc.collect()
    gc.disable()
    try:
        session, handler = new_session()
        handler.session = session
        play(session, handler, [TO_CONTENT + b"x\r\n.\r\nQUIT\r\n"])
        session.eof()
        watched = weakref.ref(handler)
        del handler.session, handler, session
        assert watched() is None
    finally:
        gc.enable()
