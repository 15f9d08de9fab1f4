"""Certificates of a listener: chosen by name, read again when they change, asked of clients, resumed."""

import asyncio
import logging
import os
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha384

import pytest

from mta.errors import ConfigError
from mta.net.certificate import read_certificate, self_signed
from mta.net.tls import Certificates, Files, facts, server_context
from mta.net.tls_client import binding_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Watch:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


def write(directory, stem, *names):
    certificate, key = self_signed(names, datetime.now(UTC), timedelta(days=2))
    files = Files(directory / f"{stem}.pem", directory / f"{stem}.key")
    files.certificate.write_bytes(certificate)
    files.private_key.write_bytes(key)
    return files


def shake_hands(server, client, name="localhost", session=None):
    """A handshake in memory: the two ends, both ready."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    waiting = {ours, theirs}
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    ours.write(b"x")
    assert theirs.read(1) == b"x"  # TLS 1.3's tickets come before it
    return ours, theirs


def careless():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Transport(asyncio.BaseTransport):
    def __init__(self, connection):
        super().__init__({"ssl_object": connection})


def digest(files):
    return sha256(ssl.PEM_cert_to_DER_cert(files.certificate.read_text())).digest()


def shown(server, name):
    _, theirs = shake_hands(server, careless(), name)
    return sha256(theirs.getpeercert(binary_form=True)).digest()


def test_a_client_is_shown_the_certificate_of_the_name_that_it_asks_for(tmp_path):
    first = write(tmp_path, "first", "mx.example", "127.0.0.1")
    second = write(tmp_path, "second", "Mail.Other.example")
    third = write(tmp_path, "third", "*.wild.example")
    context = Certificates([first, second, third]).context()
    assert shown(context, "mx.example") == digest(first)
    assert shown(context, "mail.other.example") == digest(second)
    assert shown(context, "a.wild.example") == digest(third)
    for unknown in ("nobody.example", "a.b.wild.example", "wild.example", None):
        assert shown(context, unknown) == digest(first)


def test_the_binding_is_that_of_the_certificate_that_was_shown(tmp_path):
    first, second = write(tmp_path, "first", "a.example"), write(tmp_path, "second", "b.example")
    ours, _ = shake_hands(Certificates([first, second]).context(), careless(), "b.example")
    assert facts(Transport(ours)).bindings == {"tls-server-end-point": digest(second)}


def test_our_own_client_can_bind_a_login_to_a_connection_of_ours(tmp_path):
    client = careless()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    ours, theirs = shake_hands(Certificates([write(tmp_path, "first", "a.example")]).context(), client, "a.example")
    binding = binding_of(theirs)
    assert binding is not None
    assert facts(Transport(ours)).bindings[binding.kind] == binding.octets


def test_changed_files_are_taken_up_within_a_second(tmp_path):
    clock = Watch()
    files = write(tmp_path, "x", "old.example")
    certificates = Certificates([files], clock=clock)
    assert certificates.context().leaf.names == ("old.example",)
    write(tmp_path, "x", "new.example")
    clock.now += 0.9
    assert certificates.context().leaf.names == ("old.example",)
    clock.now += 0.2
    assert certificates.context().leaf.names == ("new.example",)


def test_unchanged_files_are_not_read_again(tmp_path):
    clock = Watch()
    certificates = Certificates([write(tmp_path, "x", "a.example")], clock=clock)
    before = certificates.context()
    clock.now += 10
    assert certificates.context() is before


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b"broken"), os.unlink], ids=["broken", "gone"])
def test_a_broken_new_file_leaves_the_old_certificate_and_one_line(tmp_path, caplog, harm):
    clock = Watch()
    files = write(tmp_path, "x", "good.example")
    certificates = Certificates([files], clock=clock)
    harm(files.certificate)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            clock.now += 2
            assert certificates.context().leaf.names == ("good.example",)
    assert [record.message for record in caplog.records] == [caplog.records[0].message]
    assert str(files.certificate) in caplog.records[0].message
    assert "stays" in caplog.records[0].message
    write(tmp_path, "x", "repaired.example")
    clock.now += 2
    assert certificates.context().leaf.names == ("repaired.example",)


def test_a_new_certificate_whose_key_comes_a_little_later_is_taken_up_with_it(tmp_path):
    clock = Watch()
    files = write(tmp_path, "x", "old.example")
    certificates = Certificates([files], clock=clock)
    certificate, key = self_signed(["new.example"], datetime.now(UTC), timedelta(days=1))
    files.certificate.write_bytes(certificate)
    clock.now += 2
    assert certificates.context().leaf.names == ("old.example",)
    files.private_key.write_bytes(key)
    clock.now += 2
    assert certificates.context().leaf.names == ("new.example",)


def test_a_client_may_show_a_certificate_and_need_not(tmp_path):
    files = write(tmp_path, "server", "localhost")
    theirs = write(tmp_path, "client", "paula.example")
    context = Certificates([files], client_ca=theirs.certificate).context()
    ours, _ = shake_hands(context, careless())
    assert facts(Transport(ours)).peer == ""
    client = careless()
    client.load_cert_chain(*theirs)
    ours, _ = shake_hands(context, client)
    assert facts(Transport(ours)).peer == "commonName=paula.example"


def test_a_certificate_of_another_authority_ends_the_handshake(tmp_path):
    files, known, stranger = (write(tmp_path, name, f"{name}.example") for name in ("server", "known", "stranger"))
    client = careless()
    client.load_cert_chain(*stranger)
    with pytest.raises(ssl.SSLError):
        shake_hands(Certificates([files], client_ca=known.certificate).context(), client)


def test_an_authority_that_is_none_is_named(tmp_path):
    files = write(tmp_path, "server", "localhost")
    bad = tmp_path / "ca.pem"
    bad.write_bytes(b"nothing\n")
    with pytest.raises(ConfigError, match=r"ca.pem: no certificate of an authority"):
        Certificates([files], client_ca=bad)
    with pytest.raises(ConfigError, match=r"ca2.pem: cannot be read: No such file"):
        Certificates([files], client_ca=tmp_path / "ca2.pem")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("asks_clients", [False, True])
def test_sessions_are_resumed(tmp_path, version, asks_clients):
    files = write(tmp_path, "server", "localhost")
    context = Certificates([files], client_ca=files.certificate if asks_clients else None).context()
    client = careless()
    client.maximum_version = version
    _, first = shake_hands(context, client)
    assert not first.session_reused
    ours, second = shake_hands(context, client, session=first.session)
    assert second.session_reused
    assert ours.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["one.example", "two.example", "unknown.example", None])
def test_with_several_certificates_no_session_is_resumed(tmp_path, version, name):
    """OpenSSL would resume it under any name, with the certificate that the client has shown under another."""
    files = [write(tmp_path, stem, f"{stem}.example") for stem in ("one", "two")]
    certificates = Certificates(files, client_ca=files[0].certificate)
    client = careless()
    client.load_cert_chain(*files[0])
    client.maximum_version = version
    _, first = shake_hands(certificates.context(), client, "one.example")
    ours, theirs = shake_hands(certificates.context(), client, name, session=first.session)
    assert not theirs.session_reused
    shown = sha256(theirs.getpeercert(binary_form=True)).digest()
    assert shown == digest(files[name == "two.example"])
    assert facts(Transport(ours)).bindings["tls-server-end-point"] == shown
    assert facts(Transport(ours)).peer == "commonName=one.example"


def test_each_handshake_has_a_front_as_strict_as_the_others(tmp_path):
    files = [write(tmp_path, stem, f"{stem}.example") for stem in ("one", "two")]
    certificates = Certificates(files, client_ca=files[0].certificate)
    front = certificates.context()
    assert front is not certificates.context()
    strict = certificates.contexts[0]
    assert (front.minimum_version, front.options, front.verify_mode) == (
        strict.minimum_version,
        strict.options,
        strict.verify_mode,
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_ends_with_the_authority_that_its_client_was_known_by(tmp_path, version):
    clock = Watch()
    server, paula, authority = (write(tmp_path, stem, f"{stem}.example") for stem in ("server", "paula", "ca"))
    authority.certificate.write_bytes(paula.certificate.read_bytes())
    certificates = Certificates([server], client_ca=authority.certificate, clock=clock)
    client = careless()
    client.load_cert_chain(*paula)
    client.maximum_version = version
    ours, first = shake_hands(certificates.context(), client)
    assert facts(Transport(ours)).peer == "commonName=paula.example"
    authority.certificate.write_bytes(server.certificate.read_bytes())
    clock.now += 2
    with pytest.raises(ssl.SSLError):
        shake_hands(certificates.context(), client, session=first.session)


def test_tls_1_1_is_refused(tmp_path):
    context = Certificates([write(tmp_path, "server", "localhost")]).context()
    client = careless()
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake_hands(context, client)


def openssl(tmp_path, *more):
    certificate, key = tmp_path / "o.pem", tmp_path / "o.key"
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-keyout", key, "-out", certificate, *more]
    subprocess.run(command, check=True, capture_output=True)
    return server_context(certificate, key).leaf, ssl.PEM_cert_to_DER_cert(certificate.read_text())


def test_the_binding_is_hashed_as_the_certificate_is_signed(tmp_path):
    leaf, der = openssl(tmp_path, "-newkey", "rsa:2048", "-subj", "/CN=Old.example", "-sha384")
    assert leaf.end_point == sha384(der).digest()
    assert leaf.names == ("old.example",)  # no subjectAltName
    leaf, der = openssl(tmp_path, "-newkey", "rsa:2048", "-subj", "/CN=x", "-sha1")
    assert leaf.end_point == sha256(der).digest()


def test_a_signature_without_a_hash_has_no_binding(tmp_path):
    leaf, _ = openssl(tmp_path, "-newkey", "ed25519", "-subj", "/CN=x")
    assert leaf.end_point == b""


def test_a_certificate_of_our_own_is_what_a_careful_client_wants(tmp_path):
    files = write(tmp_path, "own", "hermes.example", "192.0.2.1", "::1")
    careful = ssl.create_default_context(cafile=files.certificate)
    for name in ("hermes.example", "192.0.2.1", "::1"):
        shake_hands(server_context(*files), careful, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server_context(*files), careful, "other.example")


def test_a_certificate_of_our_own_is_valid_for_as_long_as_was_said():
    leaf = read_certificate(self_signed(["a.example"], NOW, timedelta(days=30))[0])
    assert leaf.not_before < NOW
    assert leaf.not_after == NOW + timedelta(days=30)
    assert leaf.names == ("a.example",)
