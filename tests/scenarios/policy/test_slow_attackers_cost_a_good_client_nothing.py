"""Two hundred slow clients in commands, in content and in the handshake: a good one is served as ever, and they go."""

import pytest

from tests.hostile.slow import KINDS, play

ATTACKERS = 200


@pytest.mark.parametrize("kind", [*KINDS])
def test_slow_attackers_cost_a_good_client_nothing(tmp_path, kind: str) -> None:
    [result] = play(tmp_path, ATTACKERS, [kind])
    assert result.fine, str(result)
