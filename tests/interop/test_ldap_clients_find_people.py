"""Clients that nobody here wrote find people in the address book: OpenLDAP's tools and Python's ldap3.

On a real directory, by plaintext, StartTLS and TLS from the first octet on. Exit codes of OpenLDAP's tools are LDAP
result codes.
"""

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ldap3
import pytest
from ldap3.core.exceptions import LDAPInvalidCredentialsResult

from mta.metrics.layout import CONNECTIONS_IN, LDAP_SEARCHES
from tests.harness.address_book import (
    BASE,
    IMPLICIT,
    PASSWORD,
    PEOPLE,
    PLAIN,
    REQUIRED,
    SPOKEN,
    STARTTLS,
    AddressBook,
)
from tests.harness.ldap_wire import replies
from tests.harness.mta_server import wait_until
from tests.harness.sinks import LoopThread, peer_program

ADA = f"mail=ada.lovelace@minasi.example,{PEOPLE}"
ADDRESS = "ada@minasi.example"
THUNDERBIRD = "(&(mail=*)(|(cn=*{0}*)(givenName=*{0}*)(sn=*{0}*)(mail=*{0}*)))"
OUTLOOK = "(&(mail=*)(|(mail={0}*)(|(cn={0}*)(|(sn={0}*)(givenName={0}*)))))"
CLAWS = "(|(cn=*{0}*)(mail=*{0}*)(givenName=*{0}*)(sn=*{0}*))"


@pytest.fixture
def book(tmp_path: Path, loop_thread: LoopThread) -> Iterator[AddressBook]:
    with AddressBook(tmp_path, loop_thread) as running:
        yield running


class Tool:
    """``tool("ldapsearch", PLAIN, …)``: what it printed, its exit code."""

    def __init__(self, book: AddressBook) -> None:
        self._book = book

    def __call__(self, name: str, listener: int, *options: str, stdin: str = "") -> tuple[int, str]:
        scheme = "ldaps" if listener == IMPLICIT else "ldap"
        url = f"{scheme}://127.0.0.1:{self._book.ports[listener]}"
        command = [peer_program(name, "ldap-utils"), "-x", "-H", url, *options]
        environment = os.environ | {
            "LDAPTLS_CACERT": str(self._book.certificate),
            "HOME": str(self._book.certificate.parent),
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment, input=stdin, timeout=30)
        return done.returncode, done.stdout + done.stderr

    def search(self, listener: int, *options: str) -> tuple[int, list[str]]:
        """Exit code, and the names of the entries."""
        code, said = self("ldapsearch", listener, "-LLL", "-o", "ldif-wrap=no", *options)
        return code, [line[4:] for line in said.splitlines() if line.startswith("dn: ")]


@pytest.fixture
def tool(book: AddressBook) -> Tool:
    return Tool(book)


# ldapsearch and its like.


def test_ldapsearch_learns_the_base_and_finds_people(tool: Tool) -> None:
    _, said = tool("ldapsearch", PLAIN, "-LLL", "-s", "base", "-b", "", "namingContexts")
    assert f"namingContexts: {BASE}" in said.splitlines()
    assert tool.search(PLAIN, "-b", BASE, "(cn=ada*)", "mail") == (0, [ADA])
    code, said = tool("ldapsearch", PLAIN, "-LLL", "-b", BASE, "(sn=lovelace)", "mail", "telephoneNumber")
    assert code == 0
    assert said.splitlines()[1:4] == [
        "mail: ada.lovelace@minasi.example",
        "mail: ada@minasi.example",
        "telephoneNumber: +44 20 7946-0000",
    ]


@pytest.mark.parametrize("query", [THUNDERBIRD, OUTLOOK, CLAWS])
def test_what_mail_clients_ask_while_their_user_types(tool: Tool, query: str) -> None:
    for typed in ("l", "lo", "lov", "LOVE"):
        code, names = tool.search(PLAIN, "-b", BASE, "-z", "100", query.format(typed), "cn", "mail", "sn")
        assert code == 0
        assert ADA in names
    assert tool.search(PLAIN, "-b", BASE, query.format("ångs"))[1] == [f"mail=anders.angstrom@minasi.example,{PEOPLE}"]


def test_a_name_with_everything_in_it_is_a_base_that_ldapsearch_finds_again(tool: Tool) -> None:
    _, [name] = tool.search(PLAIN, "-b", BASE, "(uid=o'hara+x=y)")
    assert tool.search(PLAIN, "-s", "base", "-b", name) == (0, [name])
    assert tool.search(PLAIN, "-s", "base", "-b", name.replace("\\+", "\\2b").upper()) == (0, [name])


def test_paged_results_of_ldapsearch(tool: Tool) -> None:
    code, names = tool.search(PLAIN, "-b", BASE, "-E", "pr=2/noprompt", "(mail=*)")
    assert code == 0
    assert len(names) == 6
    assert tool.search(PLAIN, "-b", BASE, "-E", "!pr=2/noprompt", "(mail=*)") == (0, names)


def test_limits_and_errors_are_exit_codes(tool: Tool) -> None:
    code, names = tool.search(PLAIN, "-b", BASE, "-z", "2", "(mail=*)")
    assert (code, len(names)) == (4, 2)
    assert tool.search(PLAIN, "-b", f"mail=nobody@minasi.example,{PEOPLE}") == (32, [])
    assert tool.search(PLAIN, "-b", "minasi.example") == (34, [])
    assert tool.search(PLAIN, "-b", BASE, "-e", "!1.2.3") == (12, [])
    assert tool.search(PLAIN, "-b", BASE, "-e", "!manageDSAit", "-s", "base") == (0, [BASE])


def test_bind_with_a_password_over_tls(tool: Tool, book: AddressBook) -> None:
    for listener, start in ((STARTTLS, ["-ZZ"]), (REQUIRED, ["-ZZ"]), (IMPLICIT, []), (SPOKEN, [])):
        for name in (ADA, ADDRESS, f"uid=ada.lovelace,{PEOPLE}"):
            assert tool.search(listener, *start, "-D", name, "-w", PASSWORD, "-b", BASE, "(cn=ada*)") == (0, [ADA])
        assert tool.search(listener, *start, "-D", ADDRESS, "-w", "guess", "-b", BASE) == (49, [])
        assert tool.search(listener, *start, "-D", "nobody@minasi.example", "-w", PASSWORD, "-b", BASE) == (49, [])
    code, said = tool("ldapwhoami", IMPLICIT, "-D", ADA, "-w", PASSWORD)
    assert (code, said.strip()) == (0, "u:ada.lovelace@minasi.example")


def test_binds_that_are_refused(tool: Tool) -> None:
    assert tool.search(PLAIN, "-D", ADDRESS, "-w", PASSWORD, "-b", BASE) == (13, [])
    assert tool.search(STARTTLS, "-D", ADDRESS, "-w", PASSWORD, "-b", BASE) == (13, [])
    assert tool.search(REQUIRED, "-b", BASE) == (13, [])
    assert tool.search(IMPLICIT, "-D", ADDRESS, "-w", "", "-b", BASE) == (53, [])
    assert tool("ldapsearch", PLAIN, "-ZZ", "-b", BASE)[0] != 0  # it offers none
    assert tool.search(PLAIN, "-P", "2", "-b", BASE) == (2, [])


def test_what_would_change_something_is_refused(tool: Tool) -> None:
    change = f"dn: {ADA}\nchangetype: modify\nreplace: title\ntitle: Baroness\n"
    new = f"dn: mail=x@minasi.example,{PEOPLE}\nchangetype: add\nobjectClass: person\ncn: x\nsn: x\n"
    assert tool("ldapmodify", PLAIN, stdin=change)[0] == 53
    assert tool("ldapmodify", PLAIN, stdin=new)[0] == 53
    assert tool("ldapdelete", PLAIN, ADA)[0] == 53
    assert tool("ldapmodrdn", PLAIN, ADA, "mail=x@minasi.example")[0] == 53
    code, said = tool("ldappasswd", IMPLICIT, "-D", ADA, "-w", PASSWORD, "-s", "new")
    assert code != 0
    assert "Protocol error (2)" in said
    assert tool.search(PLAIN, "-b", BASE, "(title=countess)") == (0, [ADA])


def test_ldapcompare(tool: Tool) -> None:
    assert tool("ldapcompare", PLAIN, ADA, "sn:LOVELACE")[0] == 6
    assert tool("ldapcompare", PLAIN, ADA, "sn:Babbage")[0] == 5
    assert tool("ldapcompare", PLAIN, ADA, "nonsense:x")[0] == 17


def test_a_change_of_the_directory_is_seen_by_the_next_search(tool: Tool, book: AddressBook) -> None:
    assert tool.search(PLAIN, "-b", BASE, "(title=baroness)") == (0, [])
    ada = book.writer.reading.find(ADDRESS)
    assert ada is not None
    book.writer.change(lambda changes: changes.set_person(ada.id, title="Baroness"))
    assert tool.search(PLAIN, "-b", BASE, "(title=baroness)") == (0, [ADA])
    book.writer.change(lambda changes: changes.remove_person(ada.id))
    assert tool.search(PLAIN, "-b", BASE, "(title=baroness)") == (0, [])


def test_anonymous_clients_are_refused_where_they_are_not_wanted(tmp_path: Path, loop_thread: LoopThread) -> None:
    with AddressBook(tmp_path, loop_thread, anonymous=False) as book:
        tool = Tool(book)
        assert tool.search(PLAIN, "-b", BASE) == (48, [])
        assert tool.search(IMPLICIT, "-D", ADDRESS, "-w", PASSWORD, "-b", BASE, "(cn=ada*)") == (0, [ADA])


# ldap3.


@pytest.fixture
def connect(book: AddressBook) -> Iterator[Callable[..., ldap3.Connection]]:
    """``connect(listener, **options)``: an ldap3 connection, bound, its server's schema read."""
    opened: list[ldap3.Connection] = []

    def make(listener: int = PLAIN, **options: Any) -> ldap3.Connection:
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(book.certificate), valid_names=["127.0.0.1"])
        server = ldap3.Server(
            "127.0.0.1", book.ports[listener], use_ssl=listener == IMPLICIT, tls=tls, get_info=ldap3.ALL
        )
        opened.append(ldap3.Connection(server, raise_exceptions=True, receive_timeout=20, **options))
        return opened[-1]

    yield make
    for connection in opened:
        connection.unbind()


def test_ldap3_reads_root_and_schema(connect: Callable[..., ldap3.Connection]) -> None:
    connection = connect()
    connection.bind()
    server = connection.server
    assert server.info.naming_contexts == [BASE, "dc=arlington,dc=example"]
    assert server.info.vendor_name == ["Hermes"]
    person = server.schema.object_classes["inetOrgPerson"]
    assert "mail" in person.may_contain
    assert server.schema.attribute_types["telephoneNumber"].equality == ["telephoneNumberMatch"]


def test_ldap3_reads_pages(connect: Callable[..., ldap3.Connection]) -> None:
    connection = connect()
    connection.bind()
    found = connection.extend.standard.paged_search(BASE, "(mail=*)", attributes=["cn", "mail"], paged_size=2)
    names = [entry["dn"] for entry in found]
    assert len(names) == len(set(names)) == 6
    assert ADA in names


def test_ldap3_by_start_tls_and_by_tls(connect: Callable[..., ldap3.Connection]) -> None:
    for listener in (STARTTLS, REQUIRED, IMPLICIT):
        connection = connect(listener, user=ADA, password=PASSWORD)
        connection.open()
        if listener != IMPLICIT:
            assert connection.start_tls()
        assert connection.bind()
        assert connection.search(BASE, THUNDERBIRD.format("ada"), attributes=[ldap3.ALL_ATTRIBUTES])
        assert connection.entries[0].mail.values == ["ada.lovelace@minasi.example", ADDRESS]
        assert connection.extend.standard.who_am_i() == "u:ada.lovelace@minasi.example"


def test_ldap3_hears_that_a_password_is_wrong(connect: Callable[..., ldap3.Connection]) -> None:
    with pytest.raises(LDAPInvalidCredentialsResult):
        connect(IMPLICIT, user=ADA, password="guess").bind()


# The service.


def test_clients_beyond_a_limit_hear_so(tmp_path: Path, loop_thread: LoopThread) -> None:
    with AddressBook(tmp_path, loop_thread, connections_per_client=2) as book:
        port = book.ports[PLAIN]
        held = [ldap3.Connection(ldap3.Server("127.0.0.1", port), receive_timeout=20) for _ in range(2)]
        for connection in held:
            connection.bind()
        code, said = Tool(book)("ldapsearch", PLAIN, "-b", BASE)
        assert code != 0
        assert "dn:" not in said
        held[0].unbind()
        assert wait_until(lambda: book.counters.get(CONNECTIONS_IN) == 1, "the end of the connections")
        assert Tool(book).search(PLAIN, "-b", BASE, "-s", "base") == (0, [BASE])
        held[1].unbind()


def test_the_end_of_the_service_is_told(tmp_path: Path, loop_thread: LoopThread) -> None:
    with AddressBook(tmp_path, loop_thread) as book:
        with socket.create_connection(("127.0.0.1", book.ports[PLAIN]), timeout=20) as client:
            assert wait_until(lambda: book.counters.get(CONNECTIONS_IN) == 1, "the connection")
            book.stop(patience=0.2)
            said = b"".join(iter(lambda: client.recv(4096), b""))
        [notice] = replies(said)
        assert (notice.number, notice.body["code"]) == (0, 52)
        assert book.counters.get(CONNECTIONS_IN) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", book.ports[PLAIN]), timeout=20)


def test_searches_are_counted(tool: Tool, book: AddressBook) -> None:
    for _ in range(3):
        assert tool.search(PLAIN, "-b", BASE, "(cn=ada*)")[0] == 0
    assert book.counters.get(LDAP_SEARCHES) == 3
    assert wait_until(lambda: book.counters.get(CONNECTIONS_IN) == 0, "the end of the connections")


def test_ten_thousand_people_are_searched_while_the_user_types(tmp_path: Path, loop_thread: LoopThread) -> None:
    folk = [(f"person.{n}@minasi.example", f"Given{n}", f"Family{n}", {"department": "Engines"}) for n in range(10_000)]
    with AddressBook(tmp_path, loop_thread, folk=folk) as book:
        connection = ldap3.Connection(ldap3.Server("127.0.0.1", book.ports[PLAIN]), receive_timeout=20)
        connection.bind()
        took = []
        for typed in ("99", "999", "9999", "family77", "nobody at all"):
            started = time.monotonic()
            connection.search(BASE, THUNDERBIRD.format(typed), attributes=["cn", "mail"], size_limit=100)
            took.append(time.monotonic() - started)
        connection.unbind()
        # Some 15 ms on a quiet machine; the first one may find the book not read yet.
        assert sorted(took)[2] < 0.1
        assert max(took) < 3.0
