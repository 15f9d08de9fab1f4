"""A service process that does what a test demands, on the real ``services.process``: for tests of the attendant.

A demand is a file ``<data_dir>/<service>.<demand>``: ``refuse`` (the start fails with a StorageError), ``bug`` (it
fails with an exception that nobody foresaw), ``slow`` (it waits for as long as the file is there), ``sick`` (the probe
fails), ``silent`` (connections get no greeting). The request ``block`` holds the event loop for ``seconds``, in Python;
``die`` ends the process.
"""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from mta.config import Config
from mta.errors import StorageError
from mta.services.process import Orders, main, serve

#: Seconds between two looks at a demand.
LOOK = 0.01


class Demanding:
    def __init__(self, orders: Orders, config: Config) -> None:
        self._orders = orders
        self._data = Path(config.data_dir)
        self._servers: list[asyncio.AbstractServer] = []

    def demanded(self, what: str) -> bool:
        return (self._data / f"{self._orders.service}.{what}").exists()

    async def start(self, failing: Callable[[str], None]) -> None:
        while self.demanded("slow"):
            await asyncio.sleep(LOOK)
        if self.demanded("refuse"):
            raise StorageError(f"{self._orders.service}/data.mdb cannot be opened: restore it from a backup")
        if self.demanded("bug"):
            raise ZeroDivisionError("one by nothing")
        for _, bound in self._orders.sockets():
            self._servers.append(await asyncio.start_server(self._greet, sock=bound))

    async def stop(self, patience: float) -> None:
        for server in self._servers:
            server.close()

    async def answer(self, verb: str, args: Mapping[str, Any], shard: int) -> AsyncIterator[Mapping[str, Any]]:
        if verb == "die":
            os._exit(3)
        yield {"verb": verb}
        if verb == "block":
            hold_the_loop(args["seconds"])

    async def probe(self) -> None:
        if self.demanded("sick"):
            raise StorageError("a read of the environment failed")

    def facts(self) -> dict[str, Any]:
        return {}

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.demanded("silent"):
            writer.write(f"+OK {self._orders.service} {os.getpid()}\r\n".encode())
        while await reader.readline():
            writer.write(b"+OK\r\n")
        writer.close()


def hold_the_loop(seconds: float) -> None:
    threading.Event().wait(seconds)


async def run(orders: Orders, config: Config, end: socket.socket) -> None:
    await serve(orders, config, end, Demanding(orders, config))


if __name__ == "__main__":
    main(run)
