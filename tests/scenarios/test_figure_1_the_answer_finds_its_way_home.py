"""Figure 1, the other way round: Arlington asks the DNS who takes mail for paradigms.example, which is Hermes, and
Hermes knows that Ada's mailbox is at Athena."""

from tests.harness.figure_1 import ADA, MARK, letter


def test_figure_1_the_answer_finds_its_way_home(figure_1) -> None:
    figure_1.write(ADA, MARK, letter(ADA, MARK, "a question"))
    [question] = figure_1.fetch(MARK)
    answer = letter(MARK, question.reverse_path, "Re: a question")
    figure_1.write(MARK, question.reverse_path, answer)

    [fetched] = figure_1.fetch(ADA)
    assert fetched.content == answer
    assert (fetched.reverse_path, fetched.recipient) == (MARK, ADA)
    assert fetched.servers == ["arlington.minasi.example", "hermes.paradigms.example", "athena.paradigms.example"]

    left = figure_1.arlington.wait_for_event("Delivery", recipient=ADA)
    assert left["peer_address"]["name"] == "hermes.paradigms.example"
    assert left["peer_address"]["addr"].rpartition(":")[0] == "127.0.0.3"
    for server in figure_1.servers:
        server.wait_for_empty_queue()
        assert server.audit()["delivered"] == 2
