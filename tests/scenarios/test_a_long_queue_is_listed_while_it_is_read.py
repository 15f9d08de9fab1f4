"""A long queue: its listing begins at once, a reader may leave in the middle, and one dead site is one warning."""

import json
import os
import subprocess
import sys

from mta.spool.fill import fill
from tests.harness.attendant_process import UnixHttp
from tests.harness.mta_server import MtaServer

MESSAGES = 3000


def long_queue(mta) -> MtaServer:
    """A stopped server with a long queue for a site that nobody answers at."""
    server = mta(
        route=[{"domain": "*", "to": "smtp://127.0.0.1:1"}], delivery={"retry_after": ["1h"], "warn_after": "0s"}
    )
    server.stop()
    fill(server.data, 1, MESSAGES)
    return server


def head(server: MtaServer, lines: int) -> tuple[int, list[str]]:
    """``mta queue list --json | head``: exit code of the command, and what was read of it."""
    with subprocess.Popen(
        [sys.executable, "-m", "mta", "--config", str(server.config), "queue", "list", "--json"],
        env=server._environment(), cwd=server.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        read = [process.stdout.readline() for _ in range(lines)]
        process.stdout.close()
        assert process.stderr.read() == ""
    return process.returncode, read


def test_a_listing_is_complete_and_its_reader_may_leave_server_down(mta) -> None:
    server = long_queue(mta)
    assert len(server.rows("queue", "list")) == MESSAGES
    _, rows = head(server, 2)
    assert [json.loads(row)["recipients"] != [] for row in rows] == [True, True]


def test_a_listing_is_complete_and_its_reader_may_leave_server_up(mta) -> None:
    server = long_queue(mta).start()
    assert len(server.rows("queue", "list")) == MESSAGES
    head(server, 2)
    for _ in range(3):
        connection = UnixHttp(server.data / "admin.sock")
        connection.request("GET", "/api/v1/queue")
        connection.getresponse().read(10)
        connection.close()  # ``stop`` wants no traceback
    assert len(server.queue()) == MESSAGES


def test_a_site_that_nobody_answers_at_is_one_warning(mta) -> None:
    server = long_queue(mta).start()
    server.wait_for_event("TransientFailure")
    server.stop()
    assert len([line for line in server.stderr if "no new connection for" in line]) == 1, os.linesep.join(server.stderr)
