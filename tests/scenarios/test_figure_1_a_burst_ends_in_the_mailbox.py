"""Figure 1 in a hurry: many letters over a few connections are in Mark's mailbox, each once and as it was written."""

from concurrent.futures import ThreadPoolExecutor

from tests.harness.figure_1 import ADA, MARK, letter
from tests.harness.mta_server import submit

CONNECTIONS, EACH = 4, 50


def test_figure_1_a_burst_ends_in_the_mailbox(figure_1) -> None:
    def contents(number: int) -> list[bytes]:
        return [letter(ADA, MARK, f"letter {number}.{n}", f"{n}.\r\n" * (1 + 40 * n)) for n in range(EACH)]

    def write(number: int) -> None:
        with figure_1.athena.connect() as session:
            for content in contents(number):
                submit(session, MARK, content, ADA)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(write, range(CONNECTIONS)))

    wanted = sorted(content for number in range(CONNECTIONS) for content in contents(number))
    fetched = figure_1.fetch(MARK, CONNECTIONS * EACH)
    assert sorted(one.content for one in fetched) == wanted
    for server in figure_1.servers:
        server.wait_for_empty_queue()
        assert server.audit()["delivered"] == CONNECTIONS * EACH
