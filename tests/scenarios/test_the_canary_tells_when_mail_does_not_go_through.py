"""Whole servers with a canary: it flies through SMTP, spool, delivery and mailbox, and says so when it does not."""

from tests.harness.mta_server import MtaServer, Row, wait_until

DOMAIN = "minasi.example"
CANARY = f"canary@{DOMAIN}"
SETTINGS = {"local": {"domains": [DOMAIN]}, "canary": {"interval": "100ms", "timeout": "5s"}}


def row(server: MtaServer) -> Row:
    return next(service for service in server.status()["services"] if service["name"] == "canary")


def figures(server: MtaServer) -> tuple[float, float, float]:
    """Sent, failed, seconds of the last one, of the only listener."""
    metrics = server.metrics()
    label = f'{{listener="{server.listeners[0]}"}}'
    names = ("mta_canary_sent_total", "mta_canary_failures_total", "mta_canary_seconds")
    return tuple(metrics.get(f"{name}{label}", -1.0) for name in names)  # type: ignore[return-value]


def failures(server: MtaServer) -> list[str]:
    """What is told of canaries of the only listener in the event log."""
    events = server.events("TransientFailure", sender=CANARY, site=server.listeners[0])
    return [event["response"]["content"] for event in events]


def test_a_canary_arrives_is_removed_and_leaves_its_figures(mta) -> None:
    server = mta(**SETTINGS)
    wait_until(lambda: figures(server)[0] >= 3, "three canaries")
    sent, failed, seconds = figures(server)
    assert failed == 0, row(server)
    assert 0 < seconds < 5
    assert row(server)["state"] == "running"
    delivery, *_ = server.wait_for_events(int(sent), "Delivery", sender=CANARY)  # the last one sent was on its way
    assert delivery["recipient"] == CANARY
    assert delivery["delivery_protocol"] == "LMTP"
    [person] = server.request_rows("directory/user.show", user=CANARY)
    assert person["display_name"] == "Canary of the mail server"
    server.stop()
    assert server.events("TransientFailure", sender=CANARY) == []


def test_a_store_that_is_stopped_is_noticed_and_its_return_too(mta) -> None:
    server = mta(**SETTINGS)
    wait_until(lambda: figures(server)[0] >= 2, "two canaries")
    assert server.mta("status", "stop", "store").returncode == 0
    server.await_line("mta: canary by 127.0.0.1:[0-9]+: store is not running")
    wait_until(lambda: row(server)["state"] == "failing", "the status says so")
    assert "store is not running" in row(server)["reason"]
    assert "store is not running" in server.mta("status").stdout
    # One that was under way may have been told first that the store went away.
    wait_until(lambda: any("store is not running" in failure for failure in failures(server)), "an event about it")
    assert server.mta("status", "start", "store").returncode == 0
    server.await_line(r"mta: canary by .*: it arrives again \([0-9]+ did not\)")
    wait_until(lambda: row(server)["state"] == "running", "all is well")
    assert figures(server)[1] >= 1
    server.wait_for_empty_queue()


def test_no_canary_flies_where_none_is_wanted(mta) -> None:
    server = mta(local={"domains": [DOMAIN]})
    assert [service["name"] for service in server.status()["services"]][-1] == "worker-0"
    assert not any(name.startswith("mta_canary") for name in server.metrics())


def test_a_canary_without_a_local_domain_is_a_slip_that_is_told(mta) -> None:
    server = mta(canary={"interval": "1m"})
    told = [line for line in server.stderr if "canary.interval is set, but there is no local.domains" in line]
    assert len(told) == 1
    assert told[0].removeprefix("mta: ") in server.mta("check").stderr
