"""Figure 1 with Arlington stopped: mail waits at Hermes, ``mta why`` says why, and it goes on its way when Arlington is
back; what was in the mailbox before is still there."""

from tests.harness.figure_1 import ADA, MARK, letter


def test_figure_1_mail_waits_while_arlington_is_down(figure_1) -> None:
    figure_1.write(ADA, MARK, letter(ADA, MARK, "before"))
    figure_1.arlington.wait_for_event("Delivery", recipient=MARK)
    figure_1.arlington.stop()

    content = letter(ADA, MARK, "no hurry")
    figure_1.write(ADA, MARK, content)
    failure = figure_1.hermes.wait_for_event("TransientFailure", recipient=MARK)
    [why] = figure_1.hermes.rows("why", failure["id"])
    assert why["recipient"] == MARK
    assert why["until"]
    assert "arlington.minasi.example" in why["last_reply"]
    assert "refused" in why["last_reply"].lower()

    figure_1.arlington.start()
    before, after = figure_1.fetch(MARK, 2)
    assert b"Subject: before" in before.content
    assert after.content == content
    figure_1.hermes.wait_for_empty_queue()
