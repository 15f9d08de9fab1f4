"""A certificate is renewed while the server runs: the next client is shown the new one, and no connection ends."""

import shutil
import smtplib
import ssl

from tests.harness.certificates import make_certificate
from tests.harness.mta_server import PATIENCE, MtaServer, wait_until


def starttls(server, **options) -> smtplib.SMTP:
    context = ssl._create_unverified_context()
    if options:
        context.load_cert_chain(**options)
    session = smtplib.SMTP(server.host, server.port, "client.example", PATIENCE)
    session.starttls(context=context)
    return session


def shown(server) -> bytes:
    with starttls(server) as session:
        return session.sock.getpeercert(binary_form=True)


def test_renewed_broken_and_repaired(mta, tmp_path) -> None:
    first, second = make_certificate(tmp_path, "first"), make_certificate(tmp_path, "second")
    used = make_certificate(tmp_path, "used")
    shutil.copy(first.certificate, used.certificate)
    shutil.copy(first.private_key, used.private_key)
    listener = {"tls": "starttls", "certificate": str(used.certificate), "private_key": str(used.private_key)}
    server = mta(listener=[{"address": "127.0.0.1:0", **listener}])
    der = [ssl.PEM_cert_to_DER_cert(made.certificate.read_text()) for made in (first, second)]
    assert shown(server) == der[0]
    with starttls(server) as before:
        before.ehlo()
        used.certificate.write_bytes(b"half a fi")

        def complained() -> bool:
            assert shown(server) == der[0]  # a look at the files comes with a handshake, once a second
            return any("the certificate that was loaded before stays" in line for line in server._peek())

        wait_until(complained, "a line about the broken file")
        shutil.copy(second.private_key, used.private_key)
        shutil.copy(second.certificate, used.certificate)
        wait_until(lambda: shown(server) == der[1], "the new certificate")
        assert before.noop()[0] == 250


def test_a_clients_own_certificate_is_in_the_events(mta, tmp_path) -> None:
    ours, theirs = make_certificate(tmp_path, "ours"), make_certificate(tmp_path, "theirs")
    listener = {
        "tls": "required",
        "certificate": str(ours.certificate),
        "private_key": str(ours.private_key),
        "client_ca": str(theirs.certificate),
    }
    server = mta(listener=[{"address": "127.0.0.1:0", **listener}], route=[{"domain": "*", "to": "discard:"}])
    with starttls(server, certfile=theirs.certificate, keyfile=theirs.private_key) as session:
        session.ehlo()
        session.sendmail("a@athena.example", ["b@arlington.example"], b"Subject: x\r\n\r\nx\r\n")
    event = server.wait_for_event("Reception")
    assert event["tls_peer"] == "commonName=localhost"
    with starttls(server) as session:
        session.ehlo()
        session.sendmail("a@athena.example", ["c@arlington.example"], b"Subject: x\r\n\r\nx\r\n")
    assert "tls_peer" not in server.wait_for_event("Reception", recipient="c@arlington.example")


def test_a_start_with_a_wrong_certificate_ends_with_78(tmp_path) -> None:
    ours, other = make_certificate(tmp_path, "ours"), make_certificate(tmp_path, "other")
    listener = {"tls": "starttls", "certificate": str(ours.certificate), "private_key": str(other.private_key)}
    server = MtaServer(tmp_path / "mta", listener=[{"address": "127.0.0.1:0", **listener}])
    try:
        server.begin()
        assert server.wait() == 78
        assert any("listener[0]: " in line and "is not that of" in line for line in server.stderr)
    finally:
        server.close()
