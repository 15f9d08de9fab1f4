"""Figure 1, a letter to somebody who is not there: Arlington says 550 5.1.1, Hermes tells Ada, and she fetches
the report."""

from tests.harness.figure_1 import ADA, MARK, NOBODY, letter
from tests.harness.scripted_remote import Received
from tests.harness.stories import read_report


def test_figure_1_a_letter_to_nobody_comes_back(figure_1) -> None:
    figure_1.write(ADA, NOBODY, letter(ADA, NOBODY, "is anybody there"))

    [fetched] = figure_1.fetch(ADA)
    assert fetched.servers[-1] == "athena.paradigms.example"
    received = Received(fetched.reverse_path, [fetched.recipient], fetched.content)
    report = read_report(received, ADA, "hermes.paradigms.example")
    assert report.statuses == {NOBODY: ("failed", "5.1.1")}
    [about] = report.recipients
    assert about["Remote-MTA"] == "dns; arlington.minasi.example"
    assert about["Diagnostic-Code"].startswith("smtp; 550 5.1.1")
    assert report.headers["Subject"] == "is anybody there"

    bounce = figure_1.hermes.wait_for_event("Bounce", recipient=NOBODY)
    assert (bounce["response"]["code"], bounce["response"]["command"]) == (550, "RCPT")
    assert figure_1.arlington.fetch(MARK, "arlington-1998") == []
    assert figure_1.hermes.audit()["failed"] == 1
