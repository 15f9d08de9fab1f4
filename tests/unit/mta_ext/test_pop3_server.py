"""The POP3 session beyond its dialogues: late decisions, calls from inside call-backs, broken policy, TLS, the end."""

import gc
import sys
import weakref
from array import array

import pytest

from mta_ext.pop3_server import Pop3ServerSession
from mta_ext.session import PENDING
from tests.harness.pop3_handler import PolicyBroke, Pop3Handler, logged_in, new_session, play, take_all

GREETING = b"+OK hermes.example POP3 Hermes ready\r\n"
LOGIN = b"USER paula\r\nPASS secret\r\n"
INTERNAL = b"-ERR [SYS/TEMP] internal error\r\n"


def begun(data=b"", make=Pop3Handler, **options):
    session, handler = new_session(make, **options)
    session.greet()
    return session, handler, play(session, handler, [data])


def test_the_session_tells_its_shell_where_it_stands():
    session, handler, _ = begun()
    assert (session.idle, session.admitted, session.in_content, session.content_octets) == (True, False, False, 0)
    before = session.progress
    session.feed(b"US")
    assert (session.idle, session.buffered, session.progress) == (False, 2, before)
    session.feed(b"ER waits\r\nPASS x\r\nSTAT\r\n")
    assert (session.idle, session.pending, session.admitted, session.buffered) == (False, True, False, 6)
    handler.settle()
    assert (session.idle, session.admitted, session.utf8, session.secure) == (True, True, False, False)
    assert session.progress > before
    session.feed(b"QUIT\r\n")
    assert (session.admitted, session.pending, session.bye) == (True, True, False)
    handler.settle()
    assert (session.closing, session.bye) == (True, True)


def test_octets_behind_a_login_wait_for_its_decision():
    session, handler, _ = begun(b"USER waits\r\n")
    for piece in (b"PASS x\r\nST", b"AT\r\nRE", b"TR 3\r\n"):
        session.feed(piece)
    assert session.take_output() == b""
    handler.settle()
    assert take_all(session) == (
        b"+OK logged in\r\n+OK 3 130\r\n+OK 29 octets\r\nSubject: three\r\n\r\nno line end\r\n.\r\n"
    )


def test_a_callback_may_answer_before_it_returns_pending():
    class Eager(Pop3Handler):
        def on_login(self, user, password):
            self.session.open_maildrop(array("Q", [1]), array("Q", [2]))
            self.session.answer(b"+OK early\r\n")
            return PENDING

    _session, _handler, said = begun(LOGIN + b"UIDL 1\r\n", Eager)
    assert said.endswith(b"+OK early\r\n+OK 1 0000000000002\r\n")


@pytest.mark.parametrize("verdict", [b"", b"+OK", b"250 ok\r\n", b"+ Zm9v\r\n", b"+OK no line end", True, "+OK\r\n"])
def test_a_verdict_on_a_login_that_is_no_reply_is_an_error_of_policy(verdict):
    class Wrong(Pop3Handler):
        def on_login(self, user, password):
            self.session.open_maildrop(array("Q"), array("Q"))
            return verdict

    session, handler, said = begun(LOGIN + b"STAT\r\n", Wrong)
    assert said.endswith(INTERNAL + b"-ERR not now\r\n")
    assert len(handler.errors) == 1
    assert not session.admitted


@pytest.mark.parametrize("verdict", [b"250 ok\r\n", b"+ Zm9v\r\n", 7])
def test_a_verdict_on_quit_that_is_no_reply_is_an_error_of_policy(verdict):
    class Wrong(Pop3Handler):
        def on_quit(self, deleted):
            return verdict

    session, _ = logged_in(make=Wrong)
    session.feed(b"QUIT\r\n")
    assert take_all(session) == INTERNAL
    assert session.closing


def test_a_mechanism_that_failed_leaves_no_challenge_to_a_password():
    """A challenge is an answer to AUTH only, also right after an exchange that broke."""

    class Challenging(Pop3Handler):
        def on_sasl(self, mechanism, response):
            raise PolicyBroke(mechanism)

        def on_login(self, user, password):
            return b"+ Zm9v\r\n"

    _session, handler, said = begun(b"AUTH LOGIN\r\n" + LOGIN, Challenging)
    assert said.endswith(INTERNAL + b"+OK send PASS\r\n" + INTERNAL)
    assert len(handler.errors) == 2


def test_the_handler_sees_where_an_exchange_stands_and_that_a_new_one_begins():
    session, handler, _ = begun(b"AUTH LOGIN\r\ncGF1bGE=\r\n*\r\nAUTH LOGIN cGF1bGE=\r\nc2VjcmV0\r\n")
    assert handler.calls == [
        ("sasl", "LOGIN", None, 0),
        ("sasl", "LOGIN", b"paula", 1),
        ("sasl", "LOGIN", b"paula", 0),
        ("sasl", "LOGIN", b"secret", 1),
    ]
    assert session.admitted


def test_a_maildrop_is_opened_only_while_somebody_logs_in():
    session, _, _ = begun()
    with pytest.raises(RuntimeError, match="nobody is logging in"):
        session.open_maildrop(array("Q"), array("Q"))
    session.eof()
    session.open_maildrop(array("Q"), array("Q"))


@pytest.mark.parametrize(
    ("sizes", "ids", "error"),
    [
        (array("Q", [1]), array("Q"), ValueError),
        (array("I", [1]), array("Q", [1]), TypeError),
        ([1], array("Q", [1]), TypeError),
    ],
)
def test_a_maildrop_that_is_none_is_an_error_of_policy(sizes, ids, error):
    class Wrong(Pop3Handler):
        def on_login(self, user, password):
            self.session.open_maildrop(sizes, ids)

    _session, handler, said = begun(LOGIN, Wrong)
    assert said.endswith(INTERNAL)
    assert [type(found) for found in handler.errors] == [error]


def test_a_failed_login_forgets_the_maildrop_that_was_opened():
    class Hesitant(Pop3Handler):
        def on_login(self, user, password):
            if user == "first":
                self.session.open_maildrop(array("Q", [7]), array("Q", [7]))
                return b"-ERR [AUTH] no\r\n"
            return None

    _session, handler, said = begun(b"USER first\r\nPASS x\r\n" + LOGIN, Hesitant)
    assert said.endswith(INTERNAL)
    assert isinstance(handler.errors[0], RuntimeError)


def test_marks_and_ids_of_large_maildrops_are_exact():
    count = 100_000
    sizes = array("Q", range(2**40, 2**40 + count))
    ids = array("Q", (2**64 - count + i for i in range(count)))

    class Large(Pop3Handler):
        def on_login(self, user, password):
            self.session.open_maildrop(sizes, ids)

    session, handler = logged_in(make=Large)
    del sizes[:], ids[:]  # copied: what becomes of them is nobody's business
    session.feed(b"STAT\r\nUIDL\r\n")
    head, *lines = take_all(session).split(b"\r\n")[:-2]
    assert head == b"+OK 100000 %d" % sum(range(2**40, 2**40 + count))
    assert (len(lines), lines[0], lines[-1]) == (count + 1, b"+OK", b"100000 FZZZZZZZZZZZZ")
    for number in (1, 50_000, 100_000):
        session.feed(b"DELE %d\r\n" % number)
    session.feed(b"LIST\r\n")
    assert take_all(session).count(b"\r\n") == 3 + 1 + count - 3 + 1
    session.feed(b"QUIT\r\n")
    assert handler.deletes == [[0, 49_999, 99_999]]


@pytest.mark.parametrize("end", ["eof", "shut", "timed_out"])
def test_only_quit_removes_anything(end):
    session, handler = logged_in(b"DELE 1\r\nDELE 2\r\n")
    if end == "shut":
        session.shut(b"-ERR [SYS/TEMP] going down\r\n")
    else:
        getattr(session, end)()
    assert session.take_output() == (b"-ERR [SYS/TEMP] going down\r\n" if end == "shut" else b"")
    assert session.closing
    assert handler.deletes == []
    session.feed(b"QUIT\r\n")
    assert handler.deletes == []


def test_too_many_errors_remove_nothing():
    session, handler = logged_in(b"DELE 1\r\n" + b"FOO\r\n" * 22 + b"QUIT\r\n")
    assert session.closing
    assert handler.deletes == []


@pytest.mark.parametrize("end", ["eof", "shut"])
@pytest.mark.parametrize(
    "data", [LOGIN, b"AUTH PLAIN AHBhdWxhAHg=\r\n", b"AUTH PLAIN\r\nAHBhdWxhAHg=\r\n", LOGIN + b"QUIT\r\n"]
)
def test_an_answer_after_the_end_is_ignored(data, end):
    session, handler, _ = begun(make=lambda: Pop3Handler(pending=True))
    session.feed(data)
    while not (handler.calls[-1][0] in ("login", "quit") or handler.calls[-1][2]) or (
        data.endswith(b"QUIT\r\n") and handler.calls[-1][0] != "quit"
    ):
        reply, user = handler.waiting.pop(0)
        handler._open(user)
        session.answer(reply)
    assert session.pending
    session.take_output()
    session.eof() if end == "eof" else session.shut(b"-ERR bye\r\n")
    session.open_maildrop(array("Q"), array("Q"))
    session.answer(b"+OK\r\n")
    assert session.take_output() == (b"-ERR bye\r\n" if end == "shut" else b"")


@pytest.mark.parametrize("where", ["on_login", "on_sasl", "on_retrieve", "on_quit"])
@pytest.mark.parametrize("how", ["shut", "eof"])
def test_a_callback_may_end_the_session(where, how):
    handler = Pop3Handler()

    def end(*arguments):
        if how == "shut":
            handler.session.shut(b"-ERR [SYS/TEMP] closing\r\n")
        else:
            handler.session.eof()

    setattr(handler, where, end)
    first = b"AUTH PLAIN AHBhdWxhAHg=\r\n" if where == "on_sasl" else LOGIN
    session, _handler, said = begun(first + b"RETR 1\r\nQUIT\r\n", lambda: handler)
    assert session.closing
    assert said.endswith(b"closing\r\n") if how == "shut" else b"closing" not in said
    assert session.buffered == 0
    assert handler.errors == []


def test_a_peer_that_speaks_first_is_sent_away():
    for data in (b"USER x\r\n", b"x" * 300 + b"\r\n"):
        session, handler = new_session()
        session.feed(data)
        assert session.take_output() == b"-ERR wait for the greeting\r\n"
        assert session.closing
        session.greet()
        assert session.take_output() == b""
        assert handler.calls == []


def test_a_greeting_comes_once():
    session, _, _ = begun()
    with pytest.raises(AssertionError, match="AUTHORIZATION cannot follow AUTHORIZATION"):
        session.greet()


# TLS.


def test_tls_starts_only_where_it_was_asked_for():
    session, _, _ = begun(starttls=True)
    with pytest.raises(RuntimeError, match="nobody asked"):
        session.tls_started()
    session.feed(b"STLS\r\n")
    assert session.wants_tls
    session.tls_started()
    assert (session.wants_tls, session.secure) == (False, True)


@pytest.mark.parametrize("pieces", [[b"STLS\r\nQUIT\r\n"], [b"STLS\r\n", b"QUIT\r\n"], [b"STLS\r\n", b"\n"]])
def test_whatever_comes_in_the_clear_behind_stls_ends_the_connection(pieces):
    session, handler, _ = begun(starttls=True)
    assert play(session, handler, pieces) == b"+OK begin TLS\r\n"
    assert (session.closing, session.wants_tls, session.bye) == (True, False, False)
    session.tls_started()
    session.feed(LOGIN)
    assert session.take_output() == b""
    assert handler.calls == []


def test_errors_before_tls_count_on():
    session, handler, _ = begun(b"FOO\r\n" * 15 + b"STLS\r\n", starttls=True)
    session.tls_started()
    assert play(session, handler, [b"FOO\r\n" * 7]).endswith(b"-ERR too many errors\r\n")


def test_with_tls_from_the_first_octet_passwords_may_be_shown():
    session, handler, said = begun(b"CAPA\r\n" + LOGIN, secure=True, plaintext_login=False, starttls=True)
    assert b"USER\r\n" in said
    assert b"STLS" not in said
    assert session.admitted
    assert handler.calls == [("login", "paula", "secret")]


# Trouble and the end.


def test_without_on_error_the_interpreter_is_told(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(str(args.exc_value)))

    class Silent(Pop3Handler):
        on_error = None

    begun(b"USER raises\r\nPASS x\r\n", Silent)
    assert seen == ["raises"]


def test_a_finished_connection_leaves_nothing_for_the_collector():
    gc.collect()
    gc.disable()
    try:
        session, handler = logged_in(b"RETR 1\r\nLIST\r\nQUIT\r\n")
        session.eof()
        watched = weakref.ref(handler)
        del handler.session, handler, session
        assert watched() is None
    finally:
        gc.enable()


def test_limits_are_options_with_names():
    session = Pop3ServerSession(
        Pop3Handler(), "h", command_line=20, exchange=30, errors=0, failed_logins=1, login_delay=5
    )
    session.greet()
    session.feed(b"x" * 19 + b"\r\n")
    assert session.take_output() == b"+OK h POP3 Hermes ready\r\n-ERR line too long\r\n-ERR too many errors\r\n"
