"""Code of operators that runs among ours: hooks, and the verifier of tokens.

Owns: what such code may raise without harm. Never does: call it, or decide what follows.
"""

import asyncio
from typing import Final

#: To be caught around such code. It may leave by ``sys.exit``, and wait for a task that somebody cancels.
RAISED: Final = (Exception, SystemExit, asyncio.CancelledError)


def is_given_up(error: BaseException) -> bool:
    """Whether ``error`` means that the running task itself is to end, and not just something that it waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
