"""Figure 1: Ada writes to Mark. Athena hands the letter to Hermes, Hermes asks the DNS and speaks to Arlington, and
Mark fetches it by POP3."""

import poplib

import pytest

from tests.harness.figure_1 import ADA, MARK, letter


def test_figure_1_a_letter_goes_its_way(figure_1) -> None:
    content = letter(ADA, MARK, "on its way")
    first = figure_1.write(ADA, MARK, content)

    [fetched] = figure_1.fetch(MARK)
    assert fetched.content == content
    assert (fetched.reverse_path, fetched.recipient) == (ADA, MARK)
    assert fetched.servers == ["athena.paradigms.example", "hermes.paradigms.example", "arlington.minasi.example"]
    assert figure_1.arlington.fetch(MARK, "arlington-1998") == []

    handed = figure_1.athena.wait_for_event("Delivery", id=first)
    second = handed["response"]["content"].split()[0]
    assert handed["delivery_protocol"].startswith("ESMTP")
    sent = figure_1.hermes.wait_for_event("Delivery", id=second)
    assert sent["peer_address"]["name"] == "arlington.minasi.example"
    assert sent["peer_address"]["addr"].rpartition(":")[0] == "127.0.0.4"
    third = sent["response"]["content"].split()[0]
    stored = figure_1.arlington.wait_for_event("Delivery", id=third)
    assert stored["delivery_protocol"].startswith("LMTP")
    for server in figure_1.servers:
        server.wait_for_empty_queue()
        assert server.audit()["delivered"] == 1


def test_figure_1_only_mark_has_marks_password(figure_1) -> None:
    figure_1.write(ADA, MARK, letter(ADA, MARK, "for your eyes only"))
    figure_1.arlington.wait_for_event("Delivery", recipient=MARK)
    with pytest.raises(poplib.error_proto, match="AUTH"):
        figure_1.arlington.pop3(MARK, "athens-1998")
    [fetched] = figure_1.fetch(MARK)
    assert b"for your eyes only" in fetched.content
