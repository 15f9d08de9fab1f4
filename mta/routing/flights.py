"""Single flight: equal look-ups under way at the same time share one task.

Owns: the tasks of the look-ups (one per name that is not in the cache, never one per message) and their end.
Never does: know what is looked up. Loop thread only.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class Flights(Generic[V]):
    """Tasks by key. A task reports trouble by its value: an exception out of it is a bug, and the loop says so."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[V]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._tasks

    def start(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        """The flight for ``key``; takes off with ``make()`` when there is none. Nobody has to wait for it."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.get_running_loop().create_task(make())
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return task

    async def join(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Waits for the flight for ``key``. A passenger who is cancelled does not bring the flight down."""
        return await asyncio.shield(self.start(key, make))

    async def close(self) -> None:
        """Cancels what is under way and waits until it has ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def together(*look_ups: Coroutine[Any, Any, V]) -> list[V]:
    """The results of look-ups that run at the same time, in order."""
    return await asyncio.gather(*look_ups)
