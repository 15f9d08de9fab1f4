"""A report is seen by reads before its commit and made live after it: it goes out once all the same.

A refill comes ten times a second and a commit within milliseconds, so of a few hundred reports some meet both.
"""

from collections import Counter
from itertools import repeat

from tests.harness.mta_server import submit
from tests.harness.stories import route

MESSAGES = 300


def test_a_report_goes_out_once(mta, sink) -> None:
    home, remote = sink(), sink({"RCPT": repeat("550 5.1.1 nobody")})
    server = mta(route=[route("athena.example", home.port), route("*", remote.port)])
    with server.connect() as session:
        for n in range(MESSAGES):
            submit(session, sender=f"alice{n}@athena.example")
    server.wait_for_empty_queue()
    assert Counter(message.recipients[0] for message in home.received) == Counter(
        f"alice{n}@athena.example" for n in range(MESSAGES)
    )
    assert server.audit()["delivered"] == MESSAGES
