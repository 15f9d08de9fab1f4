"""From root to an ordinary user and no way back. Each drop happens in a process of its own."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from mta.attendant.privileges import Account, account_of, account_of_uid, give
from mta.errors import ConfigError, NotAllowedError

ROOT = Path(__file__).parents[3]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give something up")


def test_a_user_that_does_not_exist_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigError, match="no user 'nosuchuser'"):
        account_of("nosuchuser")
    with pytest.raises(NotAllowedError, match="has no name"):
        account_of_uid(4_000_000)


def test_without_a_user_in_the_file_it_is_the_package_s_own_or_nobody_else() -> None:
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = account_of("")
    assert (account is not None) == ("_mta" in names)


@as_root
def test_the_drop_is_complete_and_there_is_no_way_back() -> None:
    script = (
        "import os\nfrom mta.attendant.privileges import account_of, drop\n"
        "account = account_of('nobody')\ndrop(account)\n"
        "assert os.getresuid() == (account.uid,) * 3 and os.getresgid() == (account.gid,) * 3\n"
        "assert 0 not in os.getgroups()\n"
        "try:\n    os.seteuid(0)\nexcept PermissionError:\n    print('no way back')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout == "no way back\n", done.stderr


@as_root
def test_a_directory_of_root_is_given_with_all_in_it_and_links_are_not_followed(tmp_path: Path) -> None:
    nobody = account_of("nobody")
    assert isinstance(nobody, Account)
    data, outside = tmp_path / "data", tmp_path / "outside"
    (data / "spool/0").mkdir(parents=True)
    outside.write_text("root's")
    (data / "link").symlink_to(outside)
    (data / "spool/0/data.mdb").write_text("")
    give(data, nobody)
    assert {p.lstat().st_uid for p in (data, *data.rglob("*"))} == {nobody.uid}
    assert outside.stat().st_uid == 0


@as_root
def test_what_is_in_a_directory_that_the_user_had_already_is_left_alone(tmp_path: Path) -> None:
    nobody = account_of("nobody")
    assert nobody is not None
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, nobody.uid, nobody.gid)
    (data / "planted").write_text("")
    give(data, nobody)
    assert (data / "planted").stat().st_uid == 0
