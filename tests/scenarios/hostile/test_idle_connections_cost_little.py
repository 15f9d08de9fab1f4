"""Idle connections cost little: at most 32 KiB each, whatever they did before, and nobody notices them.

``python -m bench idle --connections 10000`` measures the same with as many as the machine allows.
"""

import pytest

from bench.idle import measure
from tests.harness.hostile import USUAL, Worker

BOUND = 32 * 1024
COUNT = 1000


@pytest.mark.parametrize("octets", [0, 4096, 12_000, 60_000], ids=lambda octets: f"after a message of {octets}")
def test_idle_connections_cost_little(server, octets: int) -> None:
    cost = measure(server.port, Worker(server).pid, COUNT, octets)
    assert cost.private < BOUND, cost
    assert cost.pss < BOUND, cost
    assert cost.beside < USUAL, cost
