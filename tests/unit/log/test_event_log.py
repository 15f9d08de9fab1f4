"""The event log: whole lines in order, several processes in one file, rotation, and a disk that says no."""

import errno
import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from mta.log import Event, EventLog, PeerAddress, Response, eventlog
from mta.log.output import Output, ShortWrite, chunks


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def delivered(recipient="b@example.net"):
    return Event(
        type="Delivery",
        id="0ABC",
        sender="a@example.org",
        recipient=recipient,
        response=Response(code=250, enhanced_code="2.0.0", content="ok", command="DOT"),
        peer_address=PeerAddress(name="mx.example.net", addr="192.0.2.1"),
        timestamp=12.5,
        delays=(0.1, 0.2, 0.3, 0.4),
    )


def test_an_event_has_the_fields_of_the_contract_and_leaves_out_what_is_empty(tmp_path):
    log = EventLog(str(tmp_path / "events.jsonl"))
    log.write(delivered())
    log.close()
    assert records(tmp_path / "events.jsonl") == [
        {
            "type": "Delivery",
            "id": "0ABC",
            "sender": "a@example.org",
            "recipient": "b@example.net",
            "response": {"code": 250, "enhanced_code": "2.0.0", "content": "ok", "command": "DOT"},
            "peer_address": {"name": "mx.example.net", "addr": "192.0.2.1"},
            "timestamp": 12.5,
            "delays": [0.1, 0.2, 0.3, 0.4],
        }
    ]


def test_remote_text_cannot_break_out_of_its_line(tmp_path):
    log = EventLog(str(tmp_path / "events.jsonl"))
    log.write(Event(type="Bounce", recipient="a\r\nb\x00\u2028\x1b[31m@c"))
    log.close()
    assert (tmp_path / "events.jsonl").read_bytes().count(b"\n") == 1
    assert records(tmp_path / "events.jsonl")[0]["recipient"] == "a\r\nb\x00\u2028\x1b[31m@c"


def test_the_writer_thread_writes_without_being_asked(tmp_path):
    written = threading.Event()

    class Seen(Output):
        def write(self, lines):
            super().write(lines)
            written.set()

    log = EventLog(str(tmp_path / "events.jsonl"))
    log._output = Seen(log.path, 0, 1)
    log.write(delivered())
    assert written.wait(10)
    assert len(records(tmp_path / "events.jsonl")) == 1
    log.close()
    log.close()


def test_order_is_kept_over_many_flushes(tmp_path):
    log = EventLog(str(tmp_path / "events.jsonl"))
    for i in range(5000):
        log.write(Event(type="Reception", size=i + 1))
    log.close()
    assert [record["size"] for record in records(tmp_path / "events.jsonl")] == list(range(1, 5001))


def test_three_processes_fill_and_rotate_one_file_and_lose_no_line(tmp_path):
    path = tmp_path / "events.jsonl"
    code = (
        "import json, sys\nfrom mta.log.output import Output\n"
        f"output = Output({str(path)!r}, rotate_size=20_000, keep=50)\n"
        "for i in range(0, 2000, 10):\n"
        "    records = [{'id': sys.argv[1], 'size': j, 'x': 'x' * (j % 99)} for j in range(i, i + 10)]\n"
        "    output.write([json.dumps(record).encode() for record in records])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    files = [file for file in tmp_path.iterdir() if file.suffix != ".lock"]
    seen = sorted((record["id"], record["size"]) for file in files for record in records(file))
    assert seen == [(name, i) for name in "abc" for i in range(2000)]
    assert len(files) > 10


def test_rotation_keeps_as_many_files_as_told(tmp_path):
    path = tmp_path / "events.jsonl"
    output = Output(str(path), rotate_size=10, keep=2)
    for word in (b"first", b"second", b"third", b"fourth"):
        output.write([word * 3])
    output.write([b"x"])
    output.close()
    assert path.read_bytes() == b"x\n"
    assert (tmp_path / "events.jsonl.1").read_bytes() == b"fourth" * 3 + b"\n"
    assert (tmp_path / "events.jsonl.2").read_bytes() == b"third" * 3 + b"\n"
    assert not (tmp_path / "events.jsonl.3").exists()


def test_a_file_renamed_from_outside_is_left_alone_and_a_new_one_begun(tmp_path):
    path = tmp_path / "events.jsonl"
    output = Output(str(path), rotate_size=0, keep=1)
    output.write([b"one"])
    path.rename(tmp_path / "taken")
    output.write([b"two"])
    output.close()
    assert (tmp_path / "taken").read_bytes() == b"one\n"
    assert path.read_bytes() == b"two\n"


def test_while_another_process_rotates_nobody_waits(tmp_path):
    import fcntl

    path = tmp_path / "events.jsonl"
    output = Output(str(path), rotate_size=1, keep=1)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        output.write([b"one"])
    assert path.read_bytes() == b"one\n"
    output.write([b"two"])
    output.close()
    assert (tmp_path / "events.jsonl.1").read_bytes() == b"one\ntwo\n"


def test_two_that_find_the_file_too_large_rotate_it_once(tmp_path):
    path = tmp_path / "events.jsonl"
    slow, quick = (Output(str(path), rotate_size=size, keep=5) for size in (1000, 1))
    slow.write([b"one"])
    quick.write([b"two"])
    slow._rotate()  # it had looked at the size before the quick one renamed the file
    slow.write([b"three"])
    for output in (slow, quick):
        output.close()
    assert (tmp_path / "events.jsonl.1").read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b"three\n"
    assert not (tmp_path / "events.jsonl.2").exists()


def test_stdout_gets_whole_lines():
    code = (
        "from mta.log import Event, EventLog\nlog = EventLog('-')\n"
        "for i in range(300):\n    log.write(Event(type='Reception', size=i + 1))\nlog.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert [json.loads(line)["size"] for line in done.stdout.splitlines()] == list(range(1, 301))


def test_a_failing_disk_is_reported_once_and_nothing_is_lost_when_it_comes_back(tmp_path, caplog):
    directory = tmp_path / "not-there-yet"
    tried = threading.Event()
    log = EventLog(str(directory / "events.jsonl"))
    real = log._output.write

    def write(lines):
        try:
            real(lines)
        finally:
            tried.set()

    log._output.write = write
    with caplog.at_level(logging.WARNING):
        for size in (1, 2):
            tried.clear()
            log.write(Event(type="Reception", size=size))
            assert tried.wait(10)
        directory.mkdir()
        log.close()
    assert [record["size"] for record in records(directory / "events.jsonl")] == [1, 2]
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "cannot be written: No such file" in line]) == 1
    assert len([line for line in said if "written again; 0 records were lost" in line]) == 1


def test_a_disk_that_never_comes_back_costs_records_but_no_memory(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(eventlog, "BACKLOG_OCTETS", 100_000)
    counted = []
    log = EventLog(str(tmp_path / "no" / "events.jsonl"), on_lost=counted.append)
    for i in range(5000):
        log.write(Event(type="Reception", id="x" * 100, size=i))
    assert sum(map(len, log._records)) < 110_000
    log.close()
    assert log.lost == sum(counted) == 5000
    assert "5000 event records were lost" in caplog.text


def test_a_write_that_breaks_off_repeats_only_the_broken_line(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    output = Output(str(path), rotate_size=0, keep=1)
    real, room = os.write, [10]

    def full(fd, octets):
        if room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = real(fd, octets[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ShortWrite) as caught:
        output.write([b"first", b"second", b"third"])
    assert caught.value.written == 1
    room[0] = 10
    with pytest.raises(ShortWrite) as caught:
        output.write([b"second", b"third"])
    assert caught.value.written == 1
    room[0] = 1000
    output.write([b"third"])
    output.close()
    assert path.read_bytes() == b"first\nseco\nsecond\nth\nthird\n"


def test_chunks_hold_whole_lines_within_the_limit():
    assert chunks([b"aa", b"bb", b"cc"], 6) == [[b"aa", b"bb"], [b"cc"]]
    assert chunks([b"longer than the limit", b"x"], 6) == [[b"longer than the limit"], [b"x"]]
    assert chunks([], 6) == []
