"""Figure 1 afterwards: from the event logs of all three servers ``mta trace`` tells a letter's whole way into the
mailbox, and how the report about another one came home."""

from tests.harness.figure_1 import ADA, MARK, NOBODY, letter


def way(figure_1, text: str) -> list[tuple[str, str, str]]:
    """(server, event, recipient), in the order of ``mta trace``."""
    logs = [option for server in figure_1.servers for option in ("--log", str(server.data / "events.jsonl"))]
    rows = figure_1.hermes.rows("trace", text, *logs)
    places = {str(server.data / "events.jsonl"): server.directory.name for server in figure_1.servers}
    return [(places[row["log"]], row["type"], row["recipient"]) for row in rows]


def test_figure_1_a_trace_follows_a_letter_over_three_servers(figure_1) -> None:
    queue_id = figure_1.write(ADA, MARK, letter(ADA, MARK, "traced"))
    for server in figure_1.servers:
        server.wait_for_event("Delivery", recipient=MARK)
    figure_1.arlington.wait_for_event("Reception", recipient=MARK, reception_protocol="LMTP")
    wanted = [(name, what, MARK) for name in ("athena", "hermes", "arlington") for what in ("Reception", "Delivery")]
    # The last step is the store's: it took the letter from Arlington's worker.
    assert way(figure_1, queue_id) == [*wanted, ("arlington", "Reception", MARK)]


def test_figure_1_a_trace_has_the_refusal_and_the_way_of_the_report(figure_1) -> None:
    queue_id = figure_1.write(ADA, NOBODY, letter(ADA, NOBODY, "traced"))
    figure_1.arlington.wait_for_event("Rejection", recipient=NOBODY)
    for server in (figure_1.hermes, figure_1.athena):
        server.wait_for_event("Delivery", recipient=ADA)
    figure_1.athena.wait_for_event("Reception", recipient=ADA, reception_protocol="LMTP")
    there = [("athena", "Reception"), ("athena", "Delivery"), ("hermes", "Reception"), ("hermes", "Bounce")]
    back = [("hermes", "Delivery"), ("athena", "Reception"), ("athena", "Delivery"), ("athena", "Reception")]
    found = way(figure_1, queue_id)
    assert found[:4] == [(*step, NOBODY) for step in there]
    # The report may have the same queue id at both servers, and either may come first.
    assert sorted(found[4:]) == sorted((*step, ADA) for step in back)
    # A refusal at RCPT has no queue id at the server that refused: the address finds it.
    assert ("arlington", "Rejection", NOBODY) in way(figure_1, NOBODY)
