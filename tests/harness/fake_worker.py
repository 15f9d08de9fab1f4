"""A worker that speaks the control protocol and nothing else: for tests of the attendant.

Whoever connects to its listener is greeted with ``220 worker-N PID`` and may say what it shall do next:
``die`` (exit 3), ``mute`` (no more heartbeats), ``fail`` (asks for a restart), ``stay`` (ignores a drain), ``name``.
With FAKE_WORKER=die in its environment worker 0 dies as soon as it is configured.
Requests are answered from memory: two messages a shard for ``queue.list``.
"""

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys

from mta.clock import SystemClock
from mta.model.spoolid import IdSource, format_id

PR_SET_PDEATHSIG = 1


class FakeWorker:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._mute = False
        self._stay = False
        self._ids: dict[int, list[str]] = {}

    def tell(self, **message: object) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def run(self) -> None:
        line = await self._reader.readline()
        if not line:
            return
        self._configure = json.loads(line)
        number = self._configure["worker"]
        if os.environ.get("FAKE_WORKER") == "die" and number == 0:
            os._exit(3)
        for shard in self._configure["shards"]:
            source = IdSource(shard, SystemClock())
            self._ids[shard] = [format_id(source.next()) for _ in range(2)]
        for listener in self._configure["listeners"]:
            await asyncio.start_server(self._greet, sock=socket.socket(fileno=listener["fd"]))
        self.tell(event="ready")
        beats = asyncio.create_task(self._beat())
        while line := await self._reader.readline():
            message = json.loads(line)
            if message["verb"] == "drain":
                if self._stay:
                    continue
                self.tell(event="drained")
                break
            self._answer(message)
        beats.cancel()

    async def _beat(self) -> None:
        while not self._mute:
            self.tell(event="heartbeat", lag=0.001, queued=2)
            await asyncio.sleep(1)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hostname = self._configure["config"]["hostname"]
        writer.write(f"220 worker-{self._configure['worker']} {os.getpid()} {hostname}\r\n".encode())
        while line := await reader.readline():
            word = line.decode().strip()
            if word == "die":
                os._exit(3)
            self._mute = self._mute or word == "mute"
            self._stay = self._stay or word == "stay"
            if word == "fail":
                self.tell(event="failing", reason="commit failed: Input/output error")
            writer.write(b"250 ok\r\n")
        writer.close()

    def _answer(self, message: dict) -> None:
        number, shard, args = message["id"], message["shard"], message["args"]
        rows: list[dict] = []
        if message["verb"] == "queue.list":
            rows = [{"queue_id": i, "shard": shard} for i in self._ids[shard] if i > args.get("after", "")]
        elif message["verb"] == "queue.stats":
            rows = [{"domain": "b.example", "total": 2, "5": 2}]
        elif message["verb"] == "audit":
            rows = [{"accepted": 3, "delivered": 1, "queued": 2, "drift": 0, "exact": True}]
        elif message["verb"] == "queue.cat":
            rows = [{"content": "U3ViamVjdDogaGkNCg0K"}, {"content": "aGkNCg=="}]
        elif message["verb"] in ("queue.show", "why"):
            if args["id"] not in self._ids[shard]:
                self.tell(id=number, error=f"{args['id']} is not in the queue", exit=65)
                return
            rows = [{"queue_id": args["id"]}]
        else:
            rows = [{"queue_id": i, "action": message["verb"], "done": True} for i in args.get("ids", [])]
        for row in rows:
            self.tell(id=number, row=row)
        self.tell(id=number, end=True)


async def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    reader, writer = await asyncio.open_unix_connection(sock=control, limit=1 << 22)
    await FakeWorker(reader, writer).run()
    await writer.drain()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    asyncio.run(main())
