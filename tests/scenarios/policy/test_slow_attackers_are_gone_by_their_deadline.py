"""Two hundred slow clients in commands, in content and in the handshake: a good one is served meanwhile, and they go.

How much longer the good one takes is a figure, and for a quiet machine: ``python -m tests.hostile.slow``.
"""

import pytest

from tests.hostile.slow import KINDS, QUICK, play

ATTACKERS = 200


@pytest.mark.parametrize("kind", [*KINDS])
def test_slow_attackers_are_gone_by_their_deadline(tmp_path, kind: str) -> None:
    [result] = play(tmp_path, ATTACKERS, [kind], QUICK)
    assert result.gone <= result.allowed, str(result)
