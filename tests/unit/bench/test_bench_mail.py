"""The comparisons of servers with mailboxes: what is counted, and the POP3 probe against a scripted server."""

import array
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import probe_pop3
from bench.figures import Figures, Results, as_record, verdicts
from bench.local import host_kind
from bench.mailhosts import Deliveries, DovecotMail, HermesMail, PostfixDovecot, people
from bench.plan import DOVECOT, FETCH_BARS, FETCH_CELLS, LOCAL_BARS, FetchCell, LocalCell
from bench.pop3 import Client, fetch_kind, summed
from bench.table import POP3, render
from mta.errors import UsageError

MESSAGES = [b"Subject: a\r\n\r\nx\r\n", b"Subject: b\r\n\r\n", b"Subject: c\r\n\r\n" + b"y" * 9000 + b"\r\n"]


def test_loads_say_what_they_are() -> None:
    assert str(LocalCell(4096, 20, 1)) == "4 KiB, 20 mailboxes, 1 session"
    assert LocalCell(4096, 1, 20).section == "4 KiB messages into 1 mailbox, connection kept"
    assert str(FetchCell(4096, True, 4)) == "RETR of 4 KiB, 4 sessions, pipelined"
    assert FetchCell(4096, False, 1).columns() == {"size": 4096, "sessions": 1, "pipelined": False}
    assert {bar.factor for bar in LOCAL_BARS} == {4.0}
    assert {bar.factor for bar in FETCH_BARS} == {2.0}


@pytest.mark.parametrize("name", ["hermes", "hermes-0", "exim", "courier", ""])
def test_a_peer_that_is_none_is_a_usage_error(name: str) -> None:
    for kind in (host_kind, fetch_kind):
        with pytest.raises(UsageError):
            kind(name)


def test_peers_have_their_kinds() -> None:
    assert [host_kind(name) for name in ("hermes-2", "postfix")] == [HermesMail, PostfixDovecot]
    assert [fetch_kind(name) for name in ("hermes-1", "dovecot", "dovecot-mdbox")] == [
        HermesMail, DovecotMail, DovecotMail,
    ]  # fmt: skip


def test_deliveries_are_counted_once_also_when_a_mark_comes_in_halves(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old MARK\n")
    deliveries = Deliveries(log, b"MARK")
    assert deliveries.look() == 0, "what was there before does not count"
    counts = []
    for piece in (b"one MARK\ntwo MA", b"RK\nMARK", b"MARK", b"", b"M", b"A", b"R", b"K\n"):
        with log.open("ab") as file:
            file.write(piece)
        counts.append(deliveries.look())
    assert counts == [1, 3, 4, 4, 4, 4, 4, 5]


def test_a_log_that_comes_later_is_counted_from_its_beginning(tmp_path: Path) -> None:
    deliveries = Deliveries(tmp_path / "log", b"MARK")
    assert deliveries.look() == 0
    (tmp_path / "log").write_bytes(b"MARK\nMARK\n")
    assert deliveries.look() == 2


def client(began: float, ended: float, messages: int, cpu: float = 0.1, took: tuple[int, ...] = ()) -> Client:
    return Client(int(began * 1e9), int(ended * 1e9), messages, 0, 0, int(cpu * 1e9), took)


def test_clients_are_summed_from_the_first_begin_to_the_last_end() -> None:
    figures = summed([client(1.0, 3.0, 100), client(1.01, 5.0, 300)], int(1e9), busy=2.0, stolen=0.0)
    assert (figures.messages, figures.rate, figures.cpu) == (400, 100.0, 5000.0)
    assert figures.notes == ()
    assert figures.p50 is None


def test_what_makes_a_fetch_doubtful_is_said() -> None:
    figures = summed([client(1.5, 2.0, 10, 0.49, (2_000_000, 1_000_000, 9_000_000))], int(1e9), busy=0.1, stolen=0.5)
    assert (figures.p50, figures.p99) == (2.0, 9.0)
    assert figures.notes[:3] == ("run of only 0.50 s", "a client began 0.5 s late", "a client is the limit")
    assert figures.notes[3].startswith("host took ")


def test_hermes_is_held_against_dovecot() -> None:
    results = Results()
    results.add(FETCH_CELLS[0], "hermes-1", Figures(10, 9000.0, cpu=20.0))
    results.add(FETCH_CELLS[0], "dovecot", Figures(10, 3000.0, cpu=80.0))
    results.add(FETCH_CELLS[0], "dovecot-mdbox", Figures(10, 6000.0, cpu=40.0))
    judged = verdicts(results, ["hermes-1", "dovecot", "dovecot-mdbox"], FETCH_BARS, DOVECOT)
    assert [(verdict.peer, verdict.ratio, verdict.ok) for verdict in judged] == [("hermes-1", 3.0, True)]
    text = render({}, results, ["hermes-1", "dovecot", "dovecot-mdbox"], judged, POP3)
    assert "RETR of 4 KiB messages, lock-step" in text
    assert "× Dovecot" in text
    assert "Bars (ratio to Dovecot in the same run)" in text
    record = as_record(FETCH_CELLS[0], "hermes-1", results, DOVECOT)
    assert (record["rate_times_dovecot"], record["cpu_one_over_dovecot"]) == (3.0, 4.0)


class Script:
    """A POP3 server for one session in a thread; ``cut``: octets that each RETR lacks."""

    def __init__(self, cut: int = 0) -> None:
        self._cut = cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(30)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(b"+OK hello\r\n")
            for line in lines:
                connection.sendall(self._reply(*line.decode().split()))
                if line.startswith(b"QUIT"):
                    return

    def _reply(self, verb: str, *arguments: str) -> bytes:
        if verb == "STAT":
            return b"+OK %d %d\r\n" % (len(MESSAGES), sum(map(len, MESSAGES)))
        if verb == "RETR":
            message = MESSAGES[int(arguments[0]) - 1]
            return b"+OK here\r\n" + message[self._cut :] + b".\r\n"
        return b"-ERR wrong\r\n" if arguments == ("wrong",) else b"+OK\r\n"


@pytest.fixture
def script():
    """``script(cut)``: a running server."""
    servers: list[Script] = []

    def start(cut: int = 0) -> Script:
        servers.append(Script(cut))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def probe(port: int, manner: str, file: Path, password: str = "right", rounds: int = 5) -> int:
    begin = time.monotonic_ns()
    return probe_pop3.main([str(port), "me", password, manner, str(rounds), str(begin), str(file)])


@pytest.mark.parametrize("manner", ["lockstep", "pipelined"])
def test_the_probe_fetches_every_message_of_every_round(
    script: Callable[..., Script], tmp_path: Path, manner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_pop3, "WINDOW", 2)
    assert probe(script().port, manner, tmp_path / "file") == 0
    began, ended, messages, octets, _, _, *took = array.array("q", (tmp_path / "file").read_bytes())
    assert began < ended
    assert (messages, octets) == (15, 5 * sum(map(len, MESSAGES)))
    assert len(took) == (15 if manner == "lockstep" else 0)


@pytest.mark.parametrize("manner", ["lockstep", "pipelined"])
def test_the_probe_notices_an_octet_that_is_missing(
    script: Callable[..., Script], tmp_path: Path, manner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(script(cut=1).port, manner, tmp_path / "file") == 1
    assert "octets came, STAT has" in capsys.readouterr().err
    assert not (tmp_path / "file").exists()


def test_the_probe_says_why_it_was_not_let_in(
    script: Callable[..., Script], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(script().port, "lockstep", tmp_path / "file", password="wrong") == 1
    assert capsys.readouterr().err == "me: -ERR wrong\n"


def test_people_are_numbered() -> None:
    assert list(people(2)) == ["user0@dst.test", "user1@dst.test"]
