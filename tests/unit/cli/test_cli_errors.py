"""Every operator's mistake is one line on stderr and its own exit code; never a traceback."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mta.attendant.datadir import hold_lock
from mta.cli import COMMANDS, main
from mta.clock import SystemClock


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MTA_CONFIG", raising=False)
    file = tmp_path / "mta.toml"
    file.write_text(f'data_dir = "{tmp_path}/data"\n')
    return file


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(args))
    out, err = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, out, err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["queue", "list", "--nonsense"], "No such option"),
        (["queue", "hold"], "name messages, or give --domain or --all"),
        (["queue", "list", "--limit", "-1"], "--limit"),
        (["send", "-f", "a@b.example"], "--to"),
        (["send", "-t", "a@b.example", "--server", "a b:x"], "is not host:port"),
    ],
)
def test_a_wrong_command_line_is_64(
    capsys: pytest.CaptureFixture[str], config: Path, args: list[str], said: str
) -> None:
    code, _, err = run(capsys, "--config", str(config), *args)
    assert code == os.EX_USAGE
    assert said in err
    assert len(err.splitlines()) == 1
    assert err.startswith("mta: ")


def test_a_wrong_configuration_is_78_with_a_line_per_finding(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    config.write_text('workerz = 3\n[relay]\nnetworks = ["10.0.0.0/99"]\n')
    code, _, err = run(capsys, "check", "--config", str(config))
    assert code == os.EX_CONFIG
    assert len(err.splitlines()) == 2
    assert 'relay.networks[0]: "10.0.0.0/99" is not a network' in err


def test_a_missing_configuration_is_78(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "check", "--config", str(tmp_path / "none.toml"))[0] == os.EX_CONFIG


def test_config_may_stand_before_and_after_the_command(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    code, out, _ = run(capsys, "--config", str(config), "check")
    assert (code, out.splitlines()[0]) == (0, f"{config}: fine")
    assert run(capsys, "--config", "/nowhere", "check", "--config", str(config))[0] == 0
    code, _, err = run(capsys, "queue", "--config", str(config), "list")
    assert (code, str(config.parent) in err) == (os.EX_UNAVAILABLE, True)


@pytest.mark.parametrize(
    "args", [["status"], ["queue", "list"], ["audit"], ["queue", "flush"], ["why", "06H0PNA5B4000"]]
)
def test_no_server_and_no_files_is_69(capsys: pytest.CaptureFixture[str], config: Path, args: list[str]) -> None:
    code, _, err = run(capsys, *args, "--config", str(config))
    assert code == os.EX_UNAVAILABLE
    assert "no server answers at unix:" in err
    assert "mta run" in err


def test_a_server_that_starts_but_does_not_answer_is_75(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    (config.parent / "data").mkdir()
    fd = hold_lock(config.parent / "data", SystemClock(), lambda seconds: None)
    code, _, err = run(capsys, "queue", "list", "--config", str(config))
    os.close(fd)
    assert code == os.EX_TEMPFAIL
    assert "try again" in err


def test_a_data_directory_that_cannot_be_made_is_73(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    (config.parent / "data").write_text("")
    code, _, err = run(capsys, "run", "--config", str(config))
    assert code == os.EX_CANTCREAT
    assert "set data_dir" in err.splitlines()[-1]


def test_a_taken_port_is_69_and_names_the_address(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        config.write_text(f'data_dir = "{config.parent}/data"\n[[listener]]\naddress = "{address}"\n')
        code, _, err = run(capsys, "run", "--config", str(config))
    assert code == os.EX_UNAVAILABLE
    assert f"listener {address}: Address already in use" in err


def test_a_message_file_that_is_not_there_is_66(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    code, _, err = run(capsys, "send", "-t", "a@b.example", "/nowhere", "--config", str(config))
    assert code in (os.EX_USAGE, os.EX_NOINPUT)
    assert "/nowhere" in err


def test_help_has_examples_and_imports_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        "import sys\nfrom mta.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'aiohttp', 'lmdb', 'uvloop', 'msgspec', 'mta.cli.queue'} & set(sys.modules), sorted(sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert name in done.stdout
        code, out, _ = run(capsys, name, "--help")
        assert code == 0
        assert "mta " in out.split("Options:")[0]


def test_a_configuration_that_is_fine_is_summed_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mta.toml"
    file.write_text(
        f'hostname = "mta.example"\ndata_dir = "{tmp_path}/data"\nworkers = 2\nuser = ""\n'
        '[[listener]]\naddress = "127.0.0.1:2525"\n[[route]]\ndomain = "*.test"\nto = "smtp://127.0.0.1:2600"\n'
        '[spool]\ndurability = "dangerously-buffered"\n[local]\ndomains = ["a.example", "b.example"]\n'
    )
    code, out, err = run(capsys, "check", "--config", str(file))
    assert code == 0
    assert "durability" in err
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == f"{file}: fine"
    for line in (
        "hostname mta.example",
        "listener smtp on 127.0.0.1:2525",
        "workers 2",
        f"data_dir {tmp_path}/data (made at the first start)",
        'spool disk, durability "dangerously-buffered"',
        f"admin unix:{tmp_path}/data/admin.sock",
        "relay for 127.0.0.0/8, ::1/128",
        "local a.example, b.example",
        "route *.test to smtp://127.0.0.1:2600",
        "otherwise MX hosts on port 25; name servers: those of the machine",
    ):
        assert line in lines


ROWS = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Type: application/jsonl\r\n\r\n"
CHUNK = b'16\r\n{"queue_id":"6H1VP9"}\n\r\n'


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed connection without response"),
        (ROWS, "its answer breaks off"),
        (ROWS + CHUNK, "its answer breaks off"),
        (ROWS + CHUNK[:12], "its answer breaks off"),
        (ROWS + CHUNK + b"FF\r\n" + b'{"queue_id":', "its answer breaks off"),
    ],
)
def test_a_server_that_goes_away_while_it_answers_is_one_line_and_no_shorter_list(
    capsys: pytest.CaptureFixture[str], config: Path, answer: bytes, said: str
) -> None:
    (config.parent / "data").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(config.parent / "data/admin.sock"))
        server.listen(4)

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    if client.recv(65_536):
                        client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            code, _, err = run(capsys, "--config", str(config), "queue", "list", "--json")
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert code == os.EX_TEMPFAIL, err
    assert said in err
    assert len(err.splitlines()) == 1
