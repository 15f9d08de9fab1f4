"""Routes with TLS and logins: what is taken, what is refused with its place, and passwords in files."""

from pathlib import Path

import pytest

from mta import config
from mta.config.load import PASSWORD_LIMIT, read_password
from mta.errors import ConfigError
from mta.routing.destination import Login
from mta.routing.routes import Row
from mta.services.local import routes


def loaded(tmp_path: Path, route: str, before: str = "") -> config.Config:
    (tmp_path / "password").write_text("se cret\nmore\n")
    (tmp_path / "mta.toml").write_text(f'{before}\n[[route]]\ndomain = "*"\n{route}\n')
    return config.load(tmp_path / "mta.toml", {})


HUB = 'to = "smtp://hub.example:587"\n'
LOGIN = 'username = "we"\npassword_file = "password"\n'


@pytest.mark.parametrize(
    ("more", "row"),
    [
        ("", Row("*", "smtp://hub.example:587")),
        ('tls = "none"', Row("*", "smtp://hub.example:587", "none")),
        (LOGIN, Row("*", "smtp://hub.example:587", "verify", Login("we", "se cret"))),
        (f'{LOGIN}tls = "implicit"', Row("*", "smtp://hub.example:587", "implicit", Login("we", "se cret"))),
    ],
)
def test_a_route_becomes_a_row(tmp_path: Path, more: str, row: Row):
    assert list(routes(loaded(tmp_path, HUB + more))) == [row]


@pytest.mark.parametrize(
    ("route", "finding"),
    [
        (f'{HUB}tls = "sometimes"', "route[0].tls"),
        (f'{HUB}username = "we"', "route[0].password_file: is missing"),
        (f'{HUB}password_file = "password"', "route[0].username: is missing"),
        (f'{HUB}username = "we"\npassword_file = "none"', "route[0].password_file: "),
        ('to = "discard:"\ntls = "verify"', "route[0].tls: is for"),
        ('to = "lmtp+unix:/run/x"\ntls = "verify"', "route[0].tls: is for"),
        (f'to = "discard:"\n{LOGIN}', "route[0].username: is for"),
    ],
)
def test_what_cannot_work_is_told_before_it_starts(tmp_path: Path, route: str, finding: str):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, route)
    assert any(finding in line for line in caught.value.findings), caught.value.findings


def test_delivery_does_tls_where_it_is_offered_unless_told_otherwise(tmp_path: Path):
    assert loaded(tmp_path, HUB).delivery.tls == "opportunistic"
    found = loaded(tmp_path, HUB, '[delivery]\ntls = "verify"\ntls_authorities = "ca.pem"').delivery
    assert (found.tls, found.tls_authorities) == ("verify", tmp_path / "ca.pem")
    with pytest.raises(ConfigError):
        loaded(tmp_path, HUB, '[delivery]\ntls = "implicit"')


@pytest.mark.parametrize("content", [b"", b"\n", b"\nsecond\n", b"\xff\n", b"a\0b\n", b"x" * (PASSWORD_LIMIT + 1)])
def test_a_file_without_a_password_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        read_password(path)


@pytest.mark.parametrize("content", [b"x", b"x\n", b"x\r\n", b"x\nsecond"])
def test_the_first_line_is_the_password(tmp_path: Path, content: bytes):
    path = tmp_path / "password"
    path.write_bytes(content)
    assert read_password(path) == "x"
