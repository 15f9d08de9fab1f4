"""A remote may fail at any stage in any way: nothing accepted is lost, and later deliveries succeed.

One server, and for each stage and fault a destination of its own that fails so, all at once. Three messages go to each
of them; then the remotes behave, and what policy did not fail must arrive. Every case is looked at by itself.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.harness.faulty_remote import FAULTS, STAGES, FaultyServer
from tests.harness.mta_server import MtaServer, submit, wait_until
from tests.harness.sinks import LoopThread, RecordingSink

CASES = [(stage, fault) for stage in STAGES for fault in FAULTS]
MESSAGES = 3
#: An answer about the message, which is final; everything else is tried again.
FINAL = {(stage, "550") for stage in ("MAIL", "RCPT", "DATA", "CONTENT", "DOT")}
#: The message was taken before the fault, or HELO is said in place of the refused EHLO: delivered at the first attempt.
TAKEN = {("QUIT", fault) for fault in FAULTS} | {("EHLO", "550")}
TAKEN |= {("DOT", "positive, then drop"), ("DOT", "positive, then 421")}
TAKEN |= {("DATA", "a wrong code")}  # 399 asks for content as 354 does: the first digit counts (RFC 5321 §4.3.2)
#: The end of content was out and no answer came: perhaps delivered, so sent again (a duplicate, never a loss).
UNCERTAIN = {("DOT", fault) for fault in FAULTS} - FINAL - TAKEN - {("DOT", "450"), ("DOT", "421")}
LARGE = b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 3000
SMALL = b"Subject: small\r\n\r\nhello\r\n"


class Seen(NamedTuple):
    """What the experiment left behind, for the cases to look at."""

    events: dict[str, list[dict[str, Any]]]
    remotes: dict[tuple[str, str], FaultyServer]
    reports: list[bytes]
    books: dict[str, int]
    bystander: float


def domain_of(stage: str, fault: str) -> str:
    return f"{stage}-{fault}.test".lower().replace(" ", "-").replace(",", "")


def recipients(case: tuple[str, str]) -> list[str]:
    return [f"r{n}@{domain_of(*case)}" for n in range(MESSAGES)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    loop = LoopThread()
    remotes = {case: FaultyServer(loop, *case).start() for case in CASES}
    good = RecordingSink(loop).start()
    routes = [{"domain": domain_of(*case), "to": f"smtp://127.0.0.1:{remotes[case].port}"} for case in CASES]
    server = MtaServer(
        tmp_path_factory.mktemp("faults"),
        route=[*routes, {"domain": "*", "to": f"smtp://127.0.0.1:{good.port}"}],
        delivery={
            "retry_after": ["1s"],
            "connect_timeout": "2s",
            "command_timeout": "1s",
            "content_timeout": "2s",
            "warn_after": "0s",
        },
    )
    try:
        yield experiment(server.start(), remotes, good)
    finally:
        server.close()
        for running in (*remotes.values(), good):
            running.stop()
        loop.stop()


def experiment(server: MtaServer, remotes: dict[tuple[str, str], FaultyServer], good: RecordingSink) -> Seen:
    with server.connect() as session:
        for case in CASES:
            for recipient in recipients(case):
                submit(session, recipient, LARGE if case[0] == "CONTENT" else SMALL, "alice@athena.example")
    bystander = beside(server)
    everyone = {recipient for case in CASES for recipient in recipients(case)}

    def untold() -> set[str]:
        told = {event["recipient"] for event in server.events() if event["type"] != "Reception"}
        return everyone - told

    wait_until(lambda: not untold(), lambda: f"a first outcome for {sorted(untold())[:9]}")
    for (stage, _), remote in remotes.items():
        remote.faulty = stage == "QUIT"  # its connections come to that only now
    server.wait_for_empty_queue()
    out = 'mta_connections{direction="out"}'
    wait_until(lambda: server.metrics()[out] == 0, "every outgoing connection given back", 15)
    server.stop()
    events: dict[str, list[dict[str, Any]]] = {}
    for event in server.events():
        events.setdefault(event["recipient"], []).append(event)
    reports = [message.content for message in good.received if not message.reverse_path]
    return Seen(events, remotes, reports, server.audit(), bystander)


def beside(server: MtaServer) -> float:
    """Seconds until somebody else's message is delivered, with every remote in trouble."""
    queue_id = server.send("bob@good.example")
    delays = server.wait_for_event("Delivery", id=queue_id)["delays"]
    return float(sum(delays))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[1]}")
def test_a_remote_may_fail_at_any_stage_in_any_way(seen: Seen, case: tuple[str, str]) -> None:
    for recipient in recipients(case):
        kinds = Counter(event["type"] for event in seen.events[recipient])
        assert kinds["Reception"] == 1
        if case in FINAL:
            assert kinds == {"Reception": 1, "Bounce": 1}, seen.events[recipient]
            assert any(recipient.encode() in report for report in seen.reports), "its sender must be told"
            continue
        assert kinds["Delivery"] == 1, seen.events[recipient]
        assert kinds["Bounce"] == kinds["Expiration"] == 0
        assert bool(kinds["TransientFailure"]) == (case not in TAKEN), seen.events[recipient]
        taken = sum(recipient in message.recipients for message in seen.remotes[case].received)
        assert taken >= 1
        assert taken == 1 or case[0] == "DOT"
        if case in UNCERTAIN and recipient == recipients(case)[0]:
            assert taken > 1, "a lost answer is no answer"


def test_somebody_elses_message_is_not_held_up(seen: Seen) -> None:
    assert seen.bystander < 2


def test_the_books_balance_after_all_of_it(seen: Seen) -> None:
    failed = MESSAGES * len(FINAL)
    assert seen.books["failed"] == seen.books["generated"] == failed
    assert seen.books["accepted"] == MESSAGES * len(CASES) + 1
    assert seen.books["delivered"] == seen.books["accepted"]
    assert seen.books["queued"] == 0


def test_no_remote_saw_a_command_out_of_sequence(seen: Seen) -> None:
    found = {case: [v for r in server.remotes for v in r.violations] for case, server in seen.remotes.items()}
    assert {case: violations for case, violations in found.items() if violations} == {}
