"""The route table: what matches, and what ``to`` may say."""

import pytest

from mta.errors import ConfigError
from mta.routing.destination import Destination, Host, Login, checked
from mta.routing.routes import Routes, Row, parse_to


def where(routes: Routes, domain: str) -> str | None:
    found = routes.match(domain)
    return found.site if found else None


def test_the_first_match_wins_whatever_its_form() -> None:
    routes = Routes(
        [
            ("mail.test", "smtp://127.0.0.1:1"),
            ("*.test", "smtp://127.0.0.1:2"),
            ("late.test", "smtp://127.0.0.1:3"),
            ("mail.test", "smtp://127.0.0.1:4"),
            ("example", "smtp://127.0.0.1:5"),
            ("*", "discard:"),
        ]
    )
    assert where(routes, "mail.test") == "smtp://127.0.0.1:1"
    assert where(routes, "late.test") == "smtp://127.0.0.1:2"
    assert where(routes, "a.b.test") == "smtp://127.0.0.1:2"
    assert where(routes, "example") == "smtp://127.0.0.1:5"
    assert where(routes, "test") == "discard"


def test_a_suffix_needs_a_label_before_it_and_a_dot() -> None:
    routes = Routes([("*.test", "discard:")])
    assert where(routes, "test") is None
    assert where(routes, "contest") is None
    assert where(routes, "a.test") == "discard"


def test_without_routes_nothing_matches() -> None:
    assert Routes().match("minasi.example") is None


@pytest.mark.parametrize(
    ("to", "destination"),
    [
        (
            "smtp://127.0.0.1:2600",
            Destination("smtp://127.0.0.1:2600", "smtp", (Host("127.0.0.1", 2600, 0, ("127.0.0.1",)),)),
        ),
        ("smtp://[::1]:2600", Destination("smtp://[::1]:2600", "smtp", (Host("::1", 2600, 0, ("::1",)),))),
        (
            "smtp://Hub.Example:26",
            Destination("smtp://hub.example:26", "smtp", (Host("hub.example", 26, 0, fixed=True),)),
        ),
        (
            "lmtp://localhost:24",
            Destination("lmtp://localhost:24", "lmtp", (Host("localhost", 24, 0, ("127.0.0.1", "::1")),)),
        ),
        (
            "lmtp+unix:/run/Store.sock",
            Destination("lmtp+unix:/run/Store.sock", "lmtp", (Host("/run/Store.sock", 0, 0),)),
        ),
        ("discard:", Destination("discard", "discard")),
    ],
)
def test_a_destination_is_taken_as_it_is_written(to: str, destination: Destination) -> None:
    assert parse_to(to) == destination


@pytest.mark.parametrize(
    "to",
    [
        "", "smtp", "smtp:", "smtp://", "smtp://host", "smtp://host:", "smtp://:25", "smtp://host:0", "smtp://host:65536",
        "smtp://host:٢٥", "smtp://host:1_0", "smtp:host:25", "smtp://::1:25", "smtp://[127.0.0.1]:25", "smtp://[host]:25",
        "http://host:25", "lmtp+unix:run/sock", "lmtp+unix:", "lmtp+unix:/", "discard:x", "smtp://a b:25",
    ],
)  # fmt: skip
def test_anything_else_is_no_destination(to: str) -> None:
    assert parse_to(to) is None


def test_every_wrong_entry_is_named_with_its_place() -> None:
    table = [("a.test", "discard:"), ("*.*.test", "discard:"), ("b.test", "smtp://b"), ("", "discard:")]
    with pytest.raises(ConfigError) as caught:
        Routes(table)
    assert [finding.partition(":")[0] for finding in caught.value.findings] == [
        "route[1].domain",
        "route[2].to",
        "route[3].domain",
    ]


def test_what_is_done_differently_has_connections_of_its_own() -> None:
    to = "smtp://hub.example:587"
    routes = Routes(
        [
            ("a.test", to),
            Row("b.test", to, "verify"),
            Row("c.test", to, "verify", Login("we", "secret")),
            ("d.test", to),
        ]
    )
    a, b, c, d = (routes.match(f"{name}.test") for name in "abcd")
    assert a == d
    assert len({found.site for found in (a, b, c) if found}) == 3
    assert c is not None
    assert (c.tls, c.login) == ("verify", Login("we", "secret"))
    assert "secret" not in f"{c!r} {c.login}"
    assert c.site == f"{to} tls=verify as we"


def test_mail_with_requiretls_has_connections_of_its_own_too() -> None:
    found = Destination("site", "smtp", (Host("mx.example", 25, 0),))
    safe = checked(found)
    assert (safe.tls, safe.requiretls, safe.hosts) == ("verify", True, found.hosts)
    assert safe.site != found.site
