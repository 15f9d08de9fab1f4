"""``mta run``: from the configuration to a server in the foreground, and back when it has drained.

Owns: the order prepare → loop → attendant, and the lines on stderr. Never does: return before the last service ended.
"""

import sys
from collections.abc import Callable, Mapping

import uvloop

from mta.attendant.attendant import Attendant
from mta.attendant.notify import Notifier
from mta.attendant.prepare import prepare
from mta.attendant.roles import Role
from mta.clock import SystemClock
from mta.config import Config, warnings


def serve(
    load: Callable[[], Config], environ: Mapping[str, str], command: Callable[[Role], list[str]] | None = None
) -> None:
    """Blocks until the server has been told to stop and has drained. Raises MtaError when it cannot start.

    ``command``: see Attendant.
    """
    config = load()
    for line in warnings(config):
        say(line)
    clock = SystemClock()
    prepared = prepare(config, clock)
    for line in prepared.untimely:
        say(line)

    async def life() -> None:
        notifier = Notifier(environ, clock)
        existing = _existing_shards(config)
        attendant = Attendant(config, prepared, clock, notifier, load=load, existing=existing, say=say, command=command)
        await attendant.run()

    uvloop.run(life())


def say(text: str) -> None:
    """One line for the operator."""
    print(f"mta: {text}", file=sys.stderr, flush=True)


def _existing_shards(config: Config) -> list[int]:
    from mta.spool.shard import shards

    return shards(config.data_dir)
