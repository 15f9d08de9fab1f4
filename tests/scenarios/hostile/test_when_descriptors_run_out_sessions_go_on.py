"""When file descriptors run out, sessions go on: no spin, and there is service again when some are free."""

import resource

from mta.clock import SystemClock
from tests.harness.hostile import Footprint, Raw, Worker, close_all, good_client
from tests.harness.mta_server import wait_until

SPARE = 20


def test_when_descriptors_run_out_sessions_go_on(mta) -> None:
    server = mta(route=[{"domain": "*", "to": "discard:"}])
    good_client(server)
    server.wait_for_event("Delivery")
    before = Footprint(server)
    worker = before.worker
    old = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (before.descriptors + SPARE, old[1]))
    inside = [Raw(server.port).hello() for _ in range(SPARE - 4)]
    outside = [Raw(server.port, greeted=False) for _ in range(200)]

    assert all(client.transaction().startswith("250 2.0.0 ") for client in inside)
    cpu, clock = worker.cpu_seconds(), SystemClock()
    began = clock.monotonic()
    wait_until(lambda: clock.monotonic() - began > 1.0, "a second without anything to do")
    assert worker.cpu_seconds() - cpu < 0.5, "the worker spins"
    assert all(client.alive() for client in inside)

    close_all(outside)
    close_all(inside)
    wait_until(lambda: worker.connections() == 0, "all of them gone")
    good_client(server)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, old)
    before.back()


def test_a_small_limit_on_descriptors_leaves_some_for_deliveries(mta, sink) -> None:
    """limits.connections is cut down to what the limit allows, with a word to the operator."""
    remote = sink()
    server = mta(route=[{"domain": "*", "to": f"smtp://127.0.0.1:{remote.port}"}])
    first = Worker(server).pid
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (200, 200))
    assert server.mta("status", "restart", "worker-0").returncode == 0
    server.await_line("file descriptors leaves room for 136; raise the limit")
    wait_until(lambda: Worker(server).pid != first, "the new worker")
    flood = [Raw(server.port, greeted=False) for _ in range(250)]
    greetings = [client.reply()[:3] for client in flood]
    assert greetings.count("220") == 136
    assert greetings.count("421") == 250 - 136
    inside = flood[greetings.index("220")].hello()
    assert inside.transaction().startswith("250 2.0.0 ")
    remote.wait_for(1)
    close_all(flood)
