"""Three workers leave mail in three shards; the next start has one worker, and it delivers what all of them took."""

from tests.harness.mta_server import submit, wait_until
from tests.harness.stories import route

WORKERS = 3


def test_fewer_workers_work_off_the_shards_of_the_others(mta, sink) -> None:
    remote = sink()
    remote.stop()
    settings = {"route": [route("*", remote.port)], "delivery": {"retry_after": ["1s"]}}
    server = mta(workers=WORKERS, **settings)
    sent = 0

    def every_shard_has_some() -> bool:
        """The kernel chooses the worker of a connection."""
        nonlocal sent
        with server.connect() as session:
            submit(session, f"user{sent}@arlington.example")
        sent += 1
        rows = [server.mta("queue", "list").stdout] if sent == 0 else server.queue()
        return len({_shard(row["queue_id"]) for row in rows}) == WORKERS

    wait_until(every_shard_has_some, "every worker has taken a message")
    server.restart(workers=1, **settings)
    assert len(server.queue()) == sent
    assert [row["name"] for row in server.status()["services"]] == ["attendant", "worker-0"]
    server.send(f"user{sent}@arlington.example")
    remote.start()
    server.wait_for_empty_queue()
    got = [r for message in remote.received for r in message.recipients]
    assert sorted(got) == sorted(f"user{n}@arlington.example" for n in range(sent + 1))
    assert server.audit()["delivered"] == sent + 1


def _shard(queue_id: str) -> int:
    from mta.model.spoolid import parse_id, shard_of

    return shard_of(parse_id(queue_id))
