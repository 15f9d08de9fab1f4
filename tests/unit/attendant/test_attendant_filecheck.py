"""What root leaves behind for the server's user: files that are that user's, and files that this user has to read.

Whether a test is run as root decides which of them can be run; nothing here gives root up for good.
"""

import os
import stat
from pathlib import Path

import pytest

from mta.attendant import filecheck, privileges
from mta.attendant.filecheck import check_data, check_files
from mta.attendant.prepare import prepare
from mta.attendant.privileges import Account, account_of, acting_as
from mta.clock import SystemClock
from mta.config import Config, parse
from mta.errors import ConfigError, NotAllowedError
from tests.harness.certificates import make_certificate

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for another user")


@pytest.fixture
def nobody() -> Account:
    account = account_of("nobody")
    assert account is not None
    return account


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter of the tests may lie where only root reads it."""
    monkeypatch.setattr(filecheck, "_PROGRAM", (("/bin/sh", os.X_OK),))


def owners(directory: Path) -> set[int]:
    return {path.lstat().st_uid for path in (directory, *directory.rglob("*"))}


@as_root
@pytest.mark.parametrize("before", ["nothing", "a directory of root's", "a directory of the user's"])
def test_all_that_root_makes_in_the_data_directory_is_the_user_s(
    tmp_path: Path, nobody: Account, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    data = tmp_path / "data"
    if before != "nothing":
        data.mkdir(0o700)
    if before == "a directory of the user's":  # as every second start finds it
        os.chown(data, nobody.uid, nobody.gid)
    text = f'data_dir = "{data}"\nuser = "nobody"\n[local]\ndomains = ["minasi.example"]\n'
    listeners = f'[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\nprotocol = "lmtp"\naddress = "unix:{data}/in"\n'
    monkeypatch.setattr(privileges, "drop", lambda account: None)  # tests/unit/attendant/test_attendant_privileges.py
    prepared = prepare(parse(text + listeners), SystemClock())
    made = {path.name for path in data.iterdir()}
    assert made == {"mta.lock", "lmtp.sock", "admin.sock", "in"}
    assert owners(data) == {nobody.uid}
    assert stat.S_IMODE((data / "lmtp.sock").stat().st_mode) == 0o600
    for group in prepared.listeners.values():
        group.close()
    prepared.admin.close()
    os.close(prepared.lock)


@as_root
def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("root's")
    (tmp_path / "mta.lock").symlink_to(victim)
    monkeypatch.setattr(privileges, "drop", lambda account: None)
    with pytest.raises(OSError, match="symbolic link"):
        prepare(parse(f'data_dir = "{tmp_path}"\nuser = "nobody"\n'), SystemClock())
    assert (victim.read_text(), victim.stat().st_uid) == ("root's", 0)


@as_root
@pytest.mark.usefixtures("installed")
def test_what_only_root_can_read_is_named_with_the_user_who_cannot(tmp_path: Path, nobody: Account) -> None:
    password = tmp_path / "password"
    password.write_text("geheim\n")
    password.chmod(0o600)
    made = make_certificate(tmp_path)
    made.private_key.chmod(0o600)
    text = "\n".join(
        [
            f'user = "nobody"\ndata_dir = "{tmp_path}/data"\n[[listener]]\naddress = "127.0.0.1:0"\ntls = "starttls"',
            f'certificate = "{made.certificate}"\nprivate_key = "{made.private_key}"',
            '[[route]]\ndomain = "*"\nto = "smtp://192.0.2.1:25"\nusername = "we"',
            f'password_file = "{password}"',
        ]
    )
    config = parse(text)
    check_files(config, SystemClock())
    with acting_as(nobody):
        assert parse(text) == config  # whoever asks for the status need not know the password
    with acting_as(nobody), pytest.raises(ConfigError) as caught:
        check_files(config, SystemClock())
    assert os.geteuid() == 0
    route, listener = caught.value.findings
    assert route == (
        f"route[0].password_file: {password} cannot be read: Permission denied for user nobody, who has to read it"
    )
    assert listener.startswith("listener[0]: ")
    assert listener.endswith("Permission denied for user nobody, who has to read it")


@as_root
def test_who_acts_as_another_user_comes_back_whole(nobody: Account) -> None:
    before = (os.getresuid(), os.getresgid(), sorted(os.getgroups()))
    with acting_as(nobody):
        assert (os.geteuid(), os.getegid()) == (nobody.uid, nobody.gid)
        assert 0 not in os.getgroups()
    assert (os.getresuid(), os.getresgid(), sorted(os.getgroups())) == before


def test_a_program_that_the_user_may_not_use_is_said_before_anything_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python3"
    program.write_text("")
    program.chmod(0o600)
    monkeypatch.setattr(filecheck, "_PROGRAM", ((str(program), os.X_OK),))
    with pytest.raises(NotAllowedError, match=f"may not use {program}: install Python and Hermes where"):
        check_files(Config(), SystemClock())


def test_authorities_and_a_token_verifier_that_are_not_there_are_named_before_a_service_needs_them(
    tmp_path: Path,
) -> None:
    missing = tmp_path / "authorities.pem"
    config = parse(f'[login]\ntoken_verifier = "no_such_module:judge"\n[delivery]\ntls_authorities = "{missing}"\n')
    with pytest.raises(ConfigError) as caught:
        check_files(config, SystemClock())
    authorities, verifier = caught.value.findings
    assert authorities == f"delivery.tls_authorities: {missing}: cannot be read: No such file or directory"
    assert verifier.startswith('login.token_verifier: "no_such_module:judge" cannot be loaded: ')


@as_root
def test_what_another_user_has_left_in_the_data_directory_is_named_with_what_to_do(
    tmp_path: Path, nobody: Account
) -> None:
    shard = tmp_path / "spool" / "0"
    shard.mkdir(parents=True)
    config = parse(f'data_dir = "{tmp_path}"\n')
    check_data(config)
    shard.parent.chmod(0o755)
    with acting_as(nobody), pytest.raises(NotAllowedError, match=f"user nobody, .*: `chown -R nobody {tmp_path}`"):
        check_data(config)


@as_root
def test_a_directory_of_logs_that_the_user_cannot_write_is_named(tmp_path: Path, nobody: Account) -> None:
    logs = tmp_path / "log"
    logs.mkdir()
    config = parse(f'data_dir = "/nonexistent"\n[log]\nevents = "{logs}/events.jsonl"\n')
    check_data(config)
    with acting_as(nobody), pytest.raises(NotAllowedError, match=f"{logs}.* is not writable for user nobody"):
        check_data(config)
    check_data(parse('data_dir = "/nonexistent"\n[log]\nevents = "-"\n'))
