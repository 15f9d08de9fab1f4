"""Opens a connection to the first address that answers (RFC 8305, happy eyeballs).

Owns: the race. Never does: DNS, SMTP, retry. An attempt starts every STAGGER seconds or as soon as the one before
failed; the first that connects wins and the others are closed.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

STAGGER = 0.25

P = TypeVar("P", bound=asyncio.Protocol)


async def connect_first(make: Callable[[], P], addresses: Sequence[tuple[str, int]], *, timeout: float) -> P:
    """The connected protocol. Port 0: a unix path. Raises the last OSError, or TimeoutError after ``timeout`` s."""
    loop = asyncio.get_running_loop()
    if len(addresses) == 1:
        # Not wait_for: in Python 3.11 it forgets a cancellation that comes together with the connection.
        async with asyncio.timeout(timeout):
            return await _connect(loop, make, addresses[0])
    running: set[asyncio.Task[P]] = set()
    error: BaseException = TimeoutError(f"no answer within {timeout:g} s")
    waiting = list(addresses)
    deadline = loop.time() + timeout
    try:
        while waiting or running:
            if waiting:
                running.add(loop.create_task(_connect(loop, make, waiting.pop(0))))
            left = deadline - loop.time()
            if left <= 0:
                raise TimeoutError(f"no answer within {timeout:g} s")
            done, running = await asyncio.wait(
                running, timeout=min(left, STAGGER) if waiting else left, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                problem = task.exception()
                if problem is None:
                    done.discard(task)
                    running |= done
                    return task.result()
                error = problem
        raise error
    finally:
        for task in running:
            task.add_done_callback(_drop)
            task.cancel()


async def _connect(loop: asyncio.AbstractEventLoop, make: Callable[[], P], address: tuple[str, int]) -> P:
    host, port = address
    if port:
        _, protocol = await loop.create_connection(make, host, port)
    else:
        _, protocol = await loop.create_unix_connection(make, host)
    return protocol


def _drop(task: "asyncio.Task[P]") -> None:
    """A loser of the race that connected all the same is closed."""
    if not task.cancelled() and task.exception() is None:
        transport = getattr(task.result(), "transport", None)
        if transport is not None:
            transport.abort()
