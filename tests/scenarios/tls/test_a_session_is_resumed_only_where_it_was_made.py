"""A session of TLS that a client has kept is good for the listener and the certificate that it was made with. Anywhere
else there is a full handshake, and who shows no certificate there is nobody, whatever was shown elsewhere."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mta.net.certificate import self_signed
from tests.harness.mta_server import MtaServer
from tests.harness.tls_wire import SClient

NAMES = ("one", "two", "three")
VERSIONS = pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
#: The subject of the client's certificate.
PAULA = "commonName=paula.example"


def write(directory: Path, name: str) -> dict[str, str]:
    certificate, key = self_signed([f"{name}.example"], datetime.now(UTC), timedelta(days=2))
    files = {"certificate": directory / f"{name}.pem", "private_key": directory / f"{name}.key"}
    files["certificate"].write_bytes(certificate)
    files["private_key"].write_bytes(key)
    return {key: str(path) for key, path in files.items()}


class House(MtaServer):
    """Listeners by name. ``one`` has one certificate and knows paula's; ``twin`` is like it; ``stranger`` knows another
    authority, ``nobody`` none; ``several`` has three certificates and knows paula's."""

    LISTENERS = ("one", "twin", "stranger", "nobody", "several")

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        first, *further = (write(directory, name) for name in NAMES)
        self.paula, other = write(directory, "paula"), write(directory, "other")
        tls = {"address": "127.0.0.1:0", "tls": "starttls", **first}
        known = {"client_ca": self.paula["certificate"]}
        listeners = [
            {**tls, **known},
            {**tls, **known},
            {**tls, "client_ca": other["certificate"]},
            tls,
            {**tls, **known, "certificates": further},
        ]
        super().__init__(directory / "mta", listener=listeners, route=[{"domain": "*", "to": "discard:"}])

    def port_of(self, listener: str) -> int:
        return self.places("smtp")[self.LISTENERS.index(listener)][1]

    def identity(self, client: SClient, recipient: str) -> str:
        """Whose certificate stands in the event of a message."""
        for command in ("MAIL FROM:<a@athena.example>", f"rcpt TO:<{recipient}@arlington.example>"):
            assert client.ask(command).startswith("250 ")
        assert client.ask("DATA").startswith("354 ")
        assert client.ask(f"Subject: {recipient}\n\nx\n.").startswith("250 ")
        client.ask("quit")
        client.close()
        event = self.wait_for_event("Reception", recipient=f"{recipient}@arlington.example")
        return str(event.get("tls_peer", ""))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house") / "files")
    try:
        yield made.start()
        made.stop()
    finally:
        made.close()


def kept(house: House, listener: str, version: str, to: Path, name: str = "one") -> None:
    """Paula's session, in a file."""
    shown = ("-cert", house.paula["certificate"], "-key", house.paula["private_key"])
    client = SClient(house.port_of(listener), version, "-sess_out", to, "-servername", f"{name}.example", *shown)
    assert not client.resumed
    assert house.identity(client, f"first-{listener}-{name}{version}") == PAULA
    assert to.exists()


def resuming(house: House, listener: str, version: str, session: Path, name: str = "one") -> SClient:
    """Somebody who has the file and not the certificate."""
    return SClient(house.port_of(listener), version, "-sess_in", session, "-servername", f"{name}.example")


@VERSIONS
def test_where_it_was_made_a_session_is_resumed_with_the_certificate_that_was_shown(house, version, tmp_path) -> None:
    kept(house, "one", version, tmp_path / "session")
    client = resuming(house, "one", version, tmp_path / "session")
    assert client.resumed
    assert house.identity(client, f"again{version}") == PAULA


@VERSIONS
@pytest.mark.parametrize("listener", ["twin", "stranger", "nobody", "several"])
def test_another_listener_makes_a_full_handshake_and_knows_nobody(house, version, listener, tmp_path) -> None:
    kept(house, "one", version, tmp_path / "session")
    client = resuming(house, listener, version, tmp_path / "session")
    assert not client.resumed
    assert house.identity(client, f"{listener}{version}") == ""


@VERSIONS
@pytest.mark.parametrize("name", [*NAMES, "unknown"])
def test_with_several_certificates_no_name_resumes_the_session_of_another(house, version, name, tmp_path) -> None:
    """Nor its own: OpenSSL does not keep them apart."""
    kept(house, "several", version, tmp_path / "session", "two")
    client = resuming(house, "several", version, tmp_path / "session", name)
    assert not client.resumed
    assert house.identity(client, f"several-{name}{version}") == ""
