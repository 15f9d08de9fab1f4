"""People whom an operator enters are found by ldapsearch a moment later; status and metrics tell of it."""

import subprocess
from typing import Any

from tests.harness.certificates import make_certificate
from tests.harness.mta_server import MtaServer
from tests.harness.sinks import peer_program

BASE = "dc=minasi,dc=example"
MARK = f"mail=mark@minasi.example,ou=people,{BASE}"


def ldapsearch(server: MtaServer, url: str, *options: str) -> tuple[int, list[str]]:
    """Exit code, and the names of the entries."""
    command = [peer_program("ldapsearch", "ldap-utils"), "-x", "-LLL", "-o", "ldif-wrap=no", "-H", url, *options]
    environment = {"LDAPTLS_CACERT": str(server.directory / "server.pem"), "HOME": str(server.directory)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30)
    return done.returncode, [line[4:] for line in done.stdout.splitlines() if line.startswith("dn: ")]


def start(mta: Any, tmp_path: Any) -> tuple[MtaServer, str, str]:
    """A server with an LDAP listener of each kind: (server, plaintext with StartTLS, TLS)."""
    directory = tmp_path / "server"
    directory.mkdir()
    files = {"certificate": "server.pem", "private_key": "server.key"}
    make_certificate(directory)
    server = mta(
        directory,
        hostname="minasi.example",
        listener=[
            {"protocol": "smtp", "address": "127.0.0.1:0"},
            {"protocol": "ldap", "address": "127.0.0.1:0", "tls": "starttls", **files},
            {"protocol": "ldap", "address": "127.0.0.1:0", "tls": "implicit", **files},
        ],
    )
    plain, tls = (row["address"] for row in server.status()["listeners"] if row["protocol"] == "ldap")
    return server, f"ldap://{plain}", f"ldaps://{tls}"


def test_the_address_book_answers_over_ldap(mta: Any, tmp_path: Any) -> None:
    server, plain, tls = start(mta, tmp_path)
    assert [row["name"] for row in server.status()["services"]][:2] == ["attendant", "directory"]
    assert ldapsearch(server, plain, "-b", BASE, "(mail=mark*)") == (0, [])
    add = ("directory", "user", "add", "mark@minasi.example", "--name", "Mark Minasi", "--password-stdin")
    assert server.mta(*add, stdin=b"exchange").returncode == 0
    assert ldapsearch(server, plain, "-b", BASE, "(&(mail=*)(|(cn=*min*)(sn=*min*)))") == (0, [MARK])
    login = ("-D", "mark@minasi.example", "-b", BASE, "(cn=mark*)")
    assert ldapsearch(server, tls, "-w", "exchange", *login) == (0, [MARK])
    assert ldapsearch(server, plain, "-ZZ", "-w", "exchange", *login) == (0, [MARK])
    assert ldapsearch(server, plain, "-w", "exchange", *login) == (13, [])
    assert ldapsearch(server, tls, "-w", "guess", *login) == (49, [])
    assert server.metrics()["mta_ldap_searches_total"] == 4
    assert server.mta("directory", "user", "remove", "mark@minasi.example").returncode == 0
    assert ldapsearch(server, plain, "-b", BASE, "(mail=mark*)") == (0, [])
