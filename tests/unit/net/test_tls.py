"""TLS contexts: what is allowed, and what an operator reads when a file is wrong."""

import ssl

import pytest

from mta.errors import ConfigError
from mta.net.tls import server_context
from tests.harness.certificates import encrypt_key, make_certificate


@pytest.fixture
def pair(tmp_path):
    return make_certificate(tmp_path)


def complaint(*files):
    with pytest.raises(ConfigError) as raised:
        server_context(*files)
    assert len(raised.value.findings) == 1
    assert "\n" not in raised.value.findings[0]
    return raised.value.findings[0]


def test_old_versions_compression_and_renegotiation_are_off(pair):
    context = server_context(*pair)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_certificate_and_key_may_share_a_file(pair, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(pair.private_key.read_bytes() + pair.certificate.read_bytes())
    assert isinstance(server_context(both, None), ssl.SSLContext)


def test_a_missing_file_is_named(pair, tmp_path):
    missing = tmp_path / "missing.pem"
    assert complaint(missing, None) == f"{missing}: cannot be read: No such file or directory"
    assert complaint(pair.certificate, missing) == f"{missing}: cannot be read: No such file or directory"


def test_a_directory_is_no_certificate(tmp_path):
    assert complaint(tmp_path, None) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_key_of_another_certificate_is_named(pair, tmp_path):
    other = make_certificate(tmp_path, "other")
    assert complaint(pair.certificate, other.private_key) == (
        f"{other.private_key}: the private key is not that of {pair.certificate}"
    )


@pytest.mark.parametrize(
    "octets", [b"", b"no PEM\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_files_that_are_no_pem_are_named(pair, tmp_path, octets):
    bad = tmp_path / "bad.pem"
    bad.write_bytes(octets)
    assert complaint(bad, pair.private_key).startswith(f"{bad}, {pair.private_key}: ")


def test_a_certificate_without_its_key_is_told(pair):
    assert "no certificate and private key" in complaint(pair.certificate, None)


def test_nobody_is_asked_for_a_passphrase(pair, tmp_path):
    key = encrypt_key(pair.private_key, tmp_path / "encrypted.key")
    assert complaint(pair.certificate, key).startswith(f"{key}: the private key is encrypted")
