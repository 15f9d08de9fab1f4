"""Where the canary flies: listeners that take mail from whoever is trusted, and no others."""

from mta.attendant.cage import Cage
from mta.attendant.listeners import Place
from mta.clock import SystemClock
from mta.config import parse

LISTENERS = """
[[listener]]
address = "127.0.0.1:25"
[[listener]]
address = "127.0.0.1:26"
proxy_protocol = true
[[listener]]
protocol = "submission"
address = "127.0.0.1:587"
tls = "starttls"
certificate = "c.pem"
[[listener]]
protocol = "lmtp"
address = "127.0.0.1:24"
[[listener]]
protocol = "pop3"
address = "127.0.0.1:110"
"""


class Bound:
    def places(self):
        return [Place(n, "127.0.0.1", port, "") for n, port in enumerate((25, 26, 587, 24, 110))]


def test_a_listener_that_wants_a_login_or_a_header_gets_no_canary():
    cage = Cage({"worker": Bound()}, None, print, SystemClock())  # type: ignore[arg-type, dict-item]
    assert [(target.protocol, target.port) for target in cage._targets(parse(LISTENERS))] == [("smtp", 25), ("lmtp", 24)]
