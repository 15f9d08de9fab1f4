"""A shard that a worker has taken over: what it writes into it is found under its own number."""

from mta.clock import SystemClock
from mta.log import EventLog
from mta.metrics import MetricsTable
from mta.model.message import RecipientState
from mta.model.spoolid import shard_of
from mta.policy.retry import RetryPolicy
from mta.services.shard import Shard
from mta.spool.memory import MemorySpool
from tests.harness.spooling import make_message, store


class Nobody:
    """A deliverer that never has room."""

    def has_room(self, domain: str, free: int) -> bool:
        return False


async def test_the_dsn_of_a_message_in_an_orphan_shard_gets_an_id_of_that_shard(tmp_path):
    events = EventLog(str(tmp_path / "events.jsonl"))
    retry = RetryPolicy((60.0,), 3600.0, 0.0, lambda: 0.0)
    counters = MetricsTable.create(1).row(0)
    spool = MemorySpool(7)
    clock = SystemClock()
    shard = Shard(
        spool, retry, Nobody(), events, counters, clock,
        hostname="hermes.example", live=10, content_memory=1000, give_up_after=3600.0,
    )  # fmt: skip
    spool.start(lambda failure: None)
    message = make_message(1)
    await store(spool, message, b"Subject: hi\r\n\r\nhi\r\n")
    message.recipients[0].state = RecipientState.FAILED
    dsn, _content, _entries = shard.bounces.by_operator(message, message.recipients, "gone")
    assert shard_of(dsn.id) == 7
    events.close()
