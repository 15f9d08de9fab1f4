"""LDIF of OpenLDAP's tools is imported, and they read what is exported."""

import subprocess
from collections.abc import Callable

import pytest

from tests.harness.mta_server import MtaServer
from tests.harness.sinks import peer_program

SETTINGS = {"listener": [{"address": "127.0.0.1:0"}, {"protocol": "ldap", "address": "127.0.0.1:0"}]}
TOLD = ("address", "further", "display_name", "given_name", "surname", "title", "department", "phone")


@pytest.fixture
def server(mta: Callable[..., MtaServer]) -> MtaServer:
    """With somebody plain, and somebody for whom base 64 and folding are needed."""
    server = mta(**SETTINGS)
    for args in (
        ("mark@minasi.example", "--name", "Mark Minasi", "--given", "Mark", "--surname", "Minasi", "--title", "Author"),
        (
            "käthe@minasi.example",
            "--name",
            "Käthe, van " + "den " * 20 + "Berg",
            "--surname",
            ": Berg",
            "--further",
            "kaethe@minasi.example",
            "--department",
            "<Books>",
            "--phone",
            "+49 30 1234",
        ),
    ):
        done = server.mta("directory", "user", "add", *args)
        assert done.returncode == 0, done.stderr
    return server


def told(server: MtaServer) -> list[dict]:
    return [{name: row[name] for name in TOLD} for row in server.rows("directory", "user", "list")]


def run(server: MtaServer, tool: str, *options: str) -> str:
    url = next(address for address in server.listeners if not address.endswith(f":{server.port}"))
    command = [peer_program(tool, "ldap-utils"), "-x", "-H", f"ldap://{url}", *options]
    done = subprocess.run(command, capture_output=True, timeout=30, cwd=server.directory)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout.decode()


def test_what_ldapsearch_prints_is_imported(server: MtaServer, mta: Callable[..., MtaServer]) -> None:
    base = run(server, "ldapsearch", "-LLL", "-s", "base", "-b", "", "namingContexts").partition("namingContexts: ")[2]
    printed = run(server, "ldapsearch", "-LL", "-b", base.split("\n")[0], "(objectClass=*)")
    assert "dn:: " in printed or "cn:: " in printed
    (server.directory / "printed.ldif").write_text(printed)
    other = mta(server.directory.parent / "other", **SETTINGS)
    done = other.mta("directory", "import", str(server.directory / "printed.ldif"))
    assert done.returncode == 0, done.stderr
    assert sorted(told(other), key=str) == sorted(told(server), key=str)


def test_what_is_exported_is_read_by_ldapadd(server: MtaServer) -> None:
    file = server.directory / "exported.ldif"
    for command in (
        ("alias", "add", "@minasi.example", "mark@minasi.example"),
        ("list", "add", "all@minasi.example", "käthe@minasi.example", "--owner", "mark@minasi.example"),
        ("export", str(file), "--with-secrets"),
    ):
        done = server.mta("directory", *command)
        assert done.returncode == 0, done.stderr
    said = run(server, "ldapadd", "-n", "-v", "-f", str(file))  # -n: reads all of it, and changes nothing
    assert said.count("adding new entry") == 4
    assert "\tMark Minasi" in said
