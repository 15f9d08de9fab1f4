"""The comparisons of servers with mailboxes: what is counted, and the POP3 probe against a scripted server."""

import array
import poplib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import probe_pop3
from bench.figures import Figures, Results, as_record, verdicts
from bench.floor import Floor
from bench.local import host_kind
from bench.mailcommands import _present
from bench.mailhosts import Deliveries, DovecotMail, HermesMail, PostfixDovecot, people
from bench.plan import DOVECOT, FETCH_BARS, FETCH_CELLS, LOCAL_BARS, POP3_PEERS, FetchCell, LocalCell
from bench.pop3 import Client, fetch_kind, summed
from bench.table import POP3, render
from mta.errors import UnavailableError, UsageError

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
    assert [fetch_kind(name) for name in ("hermes-1", "dovecot", "dovecot-mdbox", "floor")] == [
        HermesMail, DovecotMail, DovecotMail, Floor,
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


# The floor: no server.


@pytest.fixture
def floor(tmp_path: Path):
    """``floor(messages, size)``: running."""
    running: list[Floor] = []

    def start(messages: int, size: int) -> Floor:
        running.append(Floor("floor", tmp_path, people(1), messages, size))
        running[-1].start()
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.mark.parametrize("manner", ["lockstep", "pipelined"])
@pytest.mark.parametrize("size", [2, 81, 82, 83, 4096, 400_000])
def test_the_floor_gives_every_retr_an_answer_of_the_size(
    floor: Callable[..., Floor], tmp_path: Path, manner: str, size: int
) -> None:
    assert probe(floor(250, size).pop3_port, manner, tmp_path / "file", rounds=2) == 0
    _, _, messages, octets, *_ = array.array("q", (tmp_path / "file").read_bytes())
    assert (messages, octets) == (500, 500 * size)


def test_the_floor_speaks_pop3_to_another_client_and_to_several(floor: Callable[..., Floor]) -> None:
    port = floor(3, 200).pop3_port
    one, other = (poplib.POP3("127.0.0.1", port, timeout=20) for _ in range(2))
    for client in (one, other):
        client.user("anybody")
        client.pass_("anything")
        assert client.stat() == (3, 600)
        assert client.list()[1] == [b"1 200", b"2 200", b"3 200"]
        assert [line.split()[0] for line in client.uidl()[1]] == [b"1", b"2", b"3"]
        assert len(set(client.uidl()[1])) == 3
    lines = one.retr(2)[1]
    assert sum(map(len, lines)) + 2 * len(lines) == 200
    assert all(0 < len(line) <= 80 for line in lines)
    one.quit()
    assert other.noop() == b"+OK"
    other.quit()


def test_answers_keep_their_order_whatever_goes_in_one_segment(floor: Callable[..., Floor]) -> None:
    with socket.create_connection(("127.0.0.1", floor(1, 2).pop3_port), 20) as sock:
        sock.sendall(b"RETR 1\r\nRETR 1\r\nSTAT\r\nRETR 1\r\nQUIT\r\n")
        with sock.makefile("rb") as answers:
            retr = b"+OK\r\n\r\n.\r\n"
            assert answers.read() == b"+OK\r\n" + retr * 2 + b"+OK 1 2\r\n" + retr + b"+OK\r\n"


def test_without_a_compiler_the_floor_is_left_out_or_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.floor.program", lambda name: None)
    monkeypatch.setattr("bench.mailcommands.program", lambda name: name)
    names, absent = _present(None, ("hermes-1", "floor"), fetch_kind)
    assert names == ["hermes-1"]
    assert absent["floor"].startswith("left out: no C compiler")
    with pytest.raises(UnavailableError, match=r"^floor: no C compiler .*$"):
        _present("floor", (), fetch_kind)


def test_what_cannot_be_compiled_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.floor.SOURCE", tmp_path / "pop3_floor.c")
    (tmp_path / "pop3_floor.c").write_text("this is no C\n\n")
    with pytest.raises(UnavailableError, match=r"^pop3_floor.c cannot be compiled: [^\n]+$"):
        Floor("floor", tmp_path, people(1), 1, 200).start()


def test_the_floor_is_last_is_in_no_bar_and_is_compared_with_nobody() -> None:
    assert POP3_PEERS[-1] == "floor"
    results = Results()
    results.add(FETCH_CELLS[0], "dovecot", Figures(10, 3000.0, cpu=80.0))
    results.add(FETCH_CELLS[0], "floor", Figures(10, 90000.0, cpu=5.0, notes=("no server",)))
    judged = verdicts(results, ["dovecot", "floor"], FETCH_BARS, DOVECOT)
    assert judged == []
    text = render({}, results, ["dovecot", "floor"], judged, POP3)
    (line,) = [line for line in text.splitlines() if "floor" in line]
    assert line.split() == ["floor", "90,000", "–", "5", "–", "–", "–", "–", "no", "server"]
    assert "rate_times_dovecot" not in as_record(FETCH_CELLS[0], "floor", results, DOVECOT)


def test_people_are_numbered() -> None:
    assert list(people(2)) == ["user0@dst.test", "user1@dst.test"]
