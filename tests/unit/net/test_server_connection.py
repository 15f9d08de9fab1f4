"""The shell of an incoming connection: one write a read, reading stopped and started, deadlines, the end."""

import asyncio
import gc

from mta.net.server import INPUT_HIGH, Deadlines, ServerConnection
from mta.net.shell import LINGER
from mta.services.receiving import ReceptionSession
from mta_ext.smtp_server import SmtpServerSession
from tests.harness.in_process import CONTENT, ENVELOPE, HELLO, InProcess, turns

MESSAGE = ENVELOPE + CONTENT + b".\r\n"
DEADLINES = Deadlines(10.0, 20.0, 100.0)


def clock(monkeypatch, connection) -> "list[float]":
    """The wheel's time, as a list of one."""
    now = [asyncio.get_running_loop().time()]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    return now


async def test_the_greeting_leaves_at_once_and_the_replies_of_a_read_together(site: InProcess):
    connection, transport = site.connect()
    assert transport.take() == b"220 hermes.example ESMTP Hermes\r\n"
    connection.data_received(HELLO + b"NOOP\r\nNOOP\r\n")
    assert len(transport.written) == 1
    assert transport.take().endswith(b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n")


async def test_the_250_leaves_after_the_commit_and_what_waited_goes_on(site: InProcess):
    connection, transport = site.connect()
    connection.data_received(HELLO + MESSAGE + MESSAGE + b"QUIT\r\n")
    assert transport.take().endswith(b"354 end data with <CRLF>.<CRLF>\r\n")
    await turns(6)
    codes = [line[:3] for line in transport.said.split(b"\r\n")]
    assert codes == [b"250", b"250", b"250", b"354", b"250", b"221", b""]
    assert transport.closed == "closed"
    assert len(site.deliverer.entries) == 2


async def test_much_input_behind_a_pending_decision_stops_reading_until_it_is_settled(site: InProcess):
    connection, transport = site.connect()
    connection.data_received(HELLO + MESSAGE + b"NOOP\r\n" * (INPUT_HIGH // 6 + 10))
    assert not transport.reading
    await turns(6)
    assert transport.reading
    assert connection.session.buffered == 0


async def test_a_client_that_does_not_read_is_not_read_from(site: InProcess):
    connection, transport = site.connect()
    transport.deaf = True
    connection.data_received(b"EHLO a\r\n" * 30_000)
    assert not transport.reading
    assert len(transport.said) < 200_000, "its commands wait, not their replies"
    assert connection.session.buffered > 200_000
    said = len(transport.said)
    transport.flush()
    assert transport.said.count(b"250 HELP") < 30_000, "others have their turn in between"
    await turns(10)
    assert transport.reading
    assert transport.said.count(b"250 HELP") == 30_000 > said // 100


async def test_a_spool_that_has_caught_up_does_not_make_us_read_from_a_client_that_does_not(site: InProcess):
    connection, transport = site.connect()
    transport.deaf = True
    connection.data_received(b"EHLO a\r\n" * 3000)
    connection.hold()
    connection.release()
    assert not transport.reading
    transport.flush()
    assert transport.reading


async def test_a_client_that_reads_again_does_not_outrun_the_spool(site: InProcess):
    connection, transport = site.connect()
    transport.deaf = True
    connection.hold()
    connection.data_received(b"EHLO a\r\n" * 3000)
    transport.flush()
    assert not transport.reading
    connection.release()
    assert transport.reading


async def test_reading_goes_on_when_the_content_that_stopped_it_is_refused(site: InProcess):
    connection, transport = site.connect()
    connection.data_received(HELLO + ENVELOPE)
    connection.data_received(b"Subject: x\r\n\r\n" + (b"x" * 998 + b"\r\n") * 6000)  # the spool is behind with this
    assert not transport.reading
    connection.data_received(b"a bare \n.\r\n\r\n.\r\n")
    assert transport.said.endswith(b"550 5.5.2 CR and LF may only come together\r\n")
    await turns()
    assert transport.reading, "what still comes is thrown away until the client closes"


async def test_after_quit_the_connection_is_closed_and_what_still_comes_is_nothing(site: InProcess):
    connection, transport = site.connect()
    connection.data_received(HELLO + b"QUIT\r\n" + MESSAGE)
    assert transport.closed == "closed"
    connection.data_received(MESSAGE)
    assert transport.said.endswith(b"221 2.0.0 bye\r\n")


async def test_after_a_refusal_of_ours_only_our_half_is_closed_until_the_client_goes(site: InProcess):
    """Closed over unread input the socket would be reset, and the reply lost with it."""
    connection, transport = site.connect()
    connection.data_received(b"NOOP\n" + b"NOOP\r\n" * 100)
    assert transport.half_closed
    assert not transport.closed
    connection.data_received(b"x" * 100_000)
    assert not connection.eof_received(), "False: the loop closes"
    connection.connection_lost(None)
    assert site.left_over() == {"sessions": 0, "clients": 0, "watched": 0, "gauge": 0}


async def test_a_client_that_never_closes_is_cut_off(site: InProcess, monkeypatch):
    connection, transport = site.connect()
    now = clock(monkeypatch, connection)
    connection.data_received(b"NOOP\n")
    now[0] += LINGER + 2
    site.wheel._turn()
    assert transport.closed == "aborted"


async def test_a_half_closed_client_gets_the_answers_to_what_it_sent(site: InProcess):
    connection, transport = site.connect()
    connection.data_received(HELLO + MESSAGE + MESSAGE)
    assert connection.eof_received(), "True: the loop keeps our half open"
    await turns(6)
    assert transport.said.count(b" queued\r\n") == 2
    assert transport.closed == "closed"


async def test_a_client_that_leaves_with_nothing_to_say_is_closed(site: InProcess):
    connection, _ = site.connect()
    connection.data_received(HELLO + b"NOO")
    assert not connection.eof_received()


async def test_a_connection_that_is_gone_is_answered_in_vain(site: InProcess):
    connection, transport = site.connect()
    connection.data_received(HELLO + MESSAGE)
    transport.take()
    connection.connection_lost(ConnectionResetError())
    await turns()
    assert transport.said == b""
    assert len(site.deliverer.entries) == 1, "it was committed, so it is ours"
    connection.pump()
    connection.release()
    connection.shut(b"421 4.3.2 x\r\n")
    connection.answer(b"250 2.0.0 x\r\n")


async def test_who_is_turned_away_counts_for_nothing(site: InProcess):
    site.reception.settings = site.reception.settings._replace(connections=1)
    first, _ = site.connect()
    second, transport = site.connect()
    assert transport.said == b"421 4.3.2 too many connections, try again later\r\n"
    assert transport.closed == "closed"
    assert not second.eof_received()
    second.connection_lost(None)
    assert len(site.reception.sessions) == 1
    first.connection_lost(None)
    assert site.left_over() == {"sessions": 0, "clients": 0, "watched": 0, "gauge": 0}


async def test_a_connection_leaves_memory_without_the_collector(site: InProcess):
    kinds = (ServerConnection, SmtpServerSession, ReceptionSession)
    gc.collect()
    gc.disable()
    try:
        connection, transport = site.connect()
        connection.data_received(HELLO + MESSAGE)
        await turns()
        assert sum(isinstance(item, kinds) for item in gc.get_objects()) >= 2
        connection.connection_lost(None)
        transport._protocol = None  # a real transport lets go of it too
        del connection
        await turns()
        assert [item for item in gc.get_objects() if isinstance(item, kinds)] == []
    finally:
        gc.enable()


async def test_octets_alone_do_not_move_the_deadline_of_a_command(site: InProcess, monkeypatch):
    connection, transport = site.connect(deadlines=DEADLINES)
    now = clock(monkeypatch, connection)
    began = now[0]
    connection.check(now[0])
    while not connection.leaving:
        now[0] += 1.0
        connection.data_received(b"N")
        connection.check(now[0])
    assert transport.said.endswith(b"421 4.4.2 too slow, closing the connection\r\n")
    assert DEADLINES.command <= now[0] - began <= DEADLINES.command + 2


async def test_a_fast_beginning_is_no_right_to_a_slow_end(site: InProcess, monkeypatch):
    connection, _ = site.connect(deadlines=DEADLINES)
    connection.data_received(HELLO + ENVELOPE)
    now = clock(monkeypatch, connection)
    connection.check(now[0])
    connection.data_received((b"x" * 98 + b"\r\n") * 1000)  # at the minimum rate this is good for 1,000 s
    connection.check(now[0])
    stalled = now[0]
    while not connection.leaving:
        now[0] += 1.0
        connection.check(now[0])
    assert now[0] - stalled <= DEADLINES.content + 1


async def test_content_at_the_minimum_rate_goes_on_and_below_it_does_not(site: InProcess, monkeypatch):
    for a_second, stays in ((110, True), (50, False)):
        connection, _ = site.connect(deadlines=DEADLINES)
        connection.data_received(HELLO + ENVELOPE)
        now = clock(monkeypatch, connection)
        connection.check(now[0])
        for _ in range(100):
            now[0] += 1.0
            connection.data_received(b"x" * (a_second - 2) + b"\r\n")
            connection.check(now[0])
        assert connection.leaving != stays


async def test_waiting_for_our_own_disk_is_no_fault_of_the_client(site: InProcess, monkeypatch):
    connection, _ = site.connect(deadlines=DEADLINES)
    connection.data_received(HELLO + ENVELOPE)
    connection.hold()
    now = clock(monkeypatch, connection)
    for _ in range(100):
        now[0] += 1.0
        assert connection.check(now[0]) >= now[0] + 1
    connection.release()
    assert not connection.leaving
