"""``mta tls self-signed`` and what ``mta check`` says of certificates."""

import os
import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest

from mta.cli import main
from mta.net.certificate import read_certificate, self_signed
from tests.harness.certificates import encrypt_key, make_certificate


def run(capsys, *argv):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def listener(tmp_path, **keys):
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    file = tmp_path / "mta.toml"
    file.write_text("\n".join(['data_dir = "data"', "[[listener]]", *lines]))
    return str(file)


def test_a_certificate_for_a_first_try_is_one_that_a_listener_can_use(tmp_path, capsys):
    out = tmp_path / "new" / "place"
    code, said, _ = run(capsys, "tls", "self-signed", "--name", "mx.example", "--name", "192.0.2.1", "--out", str(out))
    assert code == 0
    assert stat.S_IMODE((out / "key.pem").stat().st_mode) == 0o600
    assert read_certificate((out / "cert.pem").read_bytes()).names == ("mx.example",)
    file = tmp_path / "mta.toml"
    file.write_text(f'[[listener]]\ntls = "starttls"\n{said}')
    code, said, err = run(capsys, "check", "--config", str(file))
    assert (code, "TLS starttls" in said) == (0, True)
    assert "certificate" not in err


def test_without_a_name_it_is_for_this_host_and_loopback(tmp_path, capsys):
    file = tmp_path / "mta.toml"
    file.write_text('hostname = "hermes.example"')
    assert run(capsys, "tls", "self-signed", "--out", str(tmp_path), "--config", str(file))[0] == 0
    leaf = read_certificate((tmp_path / "cert.pem").read_bytes())
    assert leaf.names == ("hermes.example", "localhost")
    ssl.create_default_context(cafile=tmp_path / "cert.pem")


def test_nothing_is_replaced_unless_that_is_said(tmp_path, capsys):
    arguments = ("tls", "self-signed", "--name", "a.example", "--out", str(tmp_path))
    assert run(capsys, *arguments)[0] == 0
    before = (tmp_path / "key.pem").read_bytes()
    code, _, err = run(capsys, *arguments)
    assert (code, "--force" in err) == (os.EX_CANTCREAT, True)
    assert (tmp_path / "key.pem").read_bytes() == before
    assert run(capsys, *arguments, "--force")[0] == 0
    assert (tmp_path / "key.pem").read_bytes() != before


def test_a_key_is_not_written_beside_a_certificate_that_stays(tmp_path, capsys):
    (tmp_path / "cert.pem").write_text("of an authority")
    code, _, err = run(capsys, "tls", "self-signed", "--name", "mx.example", "--out", str(tmp_path))
    assert (code, "cert.pem is there" in err) == (os.EX_CANTCREAT, True)
    assert not (tmp_path / "key.pem").exists()


def test_a_directory_that_cannot_be_made_is_73(tmp_path, capsys):
    (tmp_path / "file").touch()
    code, _, err = run(capsys, "tls", "self-signed", "--name", "mx.example", "--out", str(tmp_path / "file"))
    assert (code, err.startswith(f"mta: {tmp_path / 'file'}: ")) == (os.EX_CANTCREAT, True)


def test_a_name_that_no_certificate_can_have_is_refused(tmp_path, capsys):
    code, _, err = run(capsys, "tls", "self-signed", "--name", "b\u00fccher.example", "--out", str(tmp_path))
    assert (code, "--name" in err) == (os.EX_USAGE, True)


@pytest.mark.parametrize("protocol", ["smtp", "submission", "lmtp", "pop3", "ldap"])
def test_check_names_a_certificate_that_cannot_be_used(tmp_path, capsys, protocol):
    pair, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    keys = {"protocol": protocol, "tls": "starttls", "certificate": pair.certificate}
    code, _, err = run(capsys, "check", "--config", listener(tmp_path, **keys, private_key=other.private_key))
    assert code == os.EX_CONFIG
    said = f"listener[0]: {other.private_key}: the private key is not that of {pair.certificate}"
    assert err == f"mta: {tmp_path / 'mta.toml'}: {said}\n"
    locked = encrypt_key(pair.private_key, tmp_path / "locked.key")
    assert "is encrypted" in run(capsys, "check", "--config", listener(tmp_path, **keys, private_key=locked))[2]
    assert "cannot be read" in run(capsys, "check", "--config", listener(tmp_path, **keys, private_key="none.key"))[2]


@pytest.mark.parametrize(
    ("begins", "days", "said"), [(-30, 10, "was valid until"), (-30, 33, "UTC only"), (5, 30, "is not valid before")]
)
def test_check_warns_of_a_certificate_whose_time_is_not_now(tmp_path, capsys, begins, days, said):
    certificate, key = self_signed(["a.example"], datetime.now(UTC) + timedelta(days=begins), timedelta(days=days))
    (tmp_path / "c.pem").write_bytes(certificate + key)
    code, _, err = run(capsys, "check", "--config", listener(tmp_path, tls="implicit", certificate="c.pem"))
    assert (code, said in err) == (0, True)


def test_check_names_authorities_that_cannot_be_read(tmp_path, capsys):
    file = tmp_path / "mta.toml"
    file.write_text('[delivery]\ntls_authorities = "ca.pem"\n')
    code, _, err = run(capsys, "check", "--config", str(file))
    authorities = tmp_path / "ca.pem"
    assert code == os.EX_CONFIG
    assert err.splitlines()[-1] == (
        f"mta: {file}: delivery.tls_authorities: {authorities}: cannot be read: No such file or directory"
    )
    authorities.write_bytes(make_certificate(tmp_path).certificate.read_bytes())
    assert run(capsys, "check", "--config", str(file))[0] == 0


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("\n", "is empty")])
def test_check_names_a_token_file_that_is_of_no_use(tmp_path, capsys, content, said):
    file = tmp_path / "mta.toml"
    file.write_text('[admin]\naddress = "127.0.0.1:8025"\ntoken_file = "admin.token"\n')
    if content is not None:
        (tmp_path / "admin.token").write_text(content)
    code, _, err = run(capsys, "check", "--config", str(file))
    assert code == os.EX_CONFIG
    line = err.splitlines()[-1]
    assert line.startswith(f"mta: {file}: admin.token_file: {tmp_path / 'admin.token'}")
    assert said in line


def test_check_names_a_token_verifier_that_cannot_be_had(tmp_path, capsys):
    file = tmp_path / "mta.toml"
    file.write_text('[login]\ntoken_verifier = "no_such_module:verify"')
    code, _, err = run(capsys, "check", "--config", str(file))
    assert (code, "login.token_verifier" in err) == (os.EX_CONFIG, True)
