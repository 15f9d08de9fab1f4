"""TLS towards remotes: contexts from files, what binds a login to a connection, and words for what went wrong."""

import ssl
from pathlib import Path

import pytest

from mta.errors import ConfigError
from mta.net.tls import server_context
from mta.net.tls_client import SESSIONS, binding_of, client_context, complaint
from tests.harness.certificates import make_certificate


def shaken(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends after a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (ours, theirs):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    theirs.write(b"x")
    assert ours.read(1) == b"x"
    return ours, theirs


def test_a_session_is_resumed_by_name(tmp_path: Path):
    pair = make_certificate(tmp_path)
    client, server = client_context(check=True, authorities=pair.certificate), server_context(*pair)
    first, _ = shaken(client, server)
    client.remember(first)
    again, _ = shaken(client, server)
    assert (first.session_reused, again.session_reused) == (False, True)
    other, _ = shaken(client, server, "127.0.0.1")
    assert not other.session_reused


def test_sessions_of_the_last_hosts_are_kept(tmp_path: Path):
    pair = make_certificate(tmp_path)
    client, server = client_context(check=False), server_context(*pair)
    for n in range(SESSIONS + 3):
        client.remember(shaken(client, server, f"mx{n}.example")[0])
    assert len(client._sessions()) == SESSIONS
    assert "mx2.example" not in client._sessions()


def test_what_scram_can_bind_itself_to(tmp_path: Path):
    pair = make_certificate(tmp_path)
    client, server = client_context(check=False), server_context(*pair)
    ours, _ = shaken(client, server)
    found = binding_of(ours)
    assert (found.kind if found else None) == ("tls-exporter" if "tls-exporter" in ssl.CHANNEL_BINDING_TYPES else None)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    ours, theirs = shaken(client, server)
    found = binding_of(ours)
    assert found is not None
    assert (found.kind, found.octets) == ("tls-unique", theirs.get_channel_binding("tls-unique"))


def test_old_versions_and_unchecked_names_are_as_told():
    unchecked, checked = client_context(check=False), client_context(check=True)
    assert unchecked.minimum_version == checked.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (unchecked.verify_mode, unchecked.check_hostname) == (ssl.CERT_NONE, False)
    assert (checked.verify_mode, checked.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_authorities_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        client_context(check=True, authorities=path)
    assert str(path) in caught.value.findings[0]


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError("gone"), OSError(), ssl.SSLError(1, "[SSL] x")])
def test_a_complaint_is_one_line(error: Exception):
    assert complaint(error).startswith("the TLS handshake")
    assert "\n" not in complaint(error)
