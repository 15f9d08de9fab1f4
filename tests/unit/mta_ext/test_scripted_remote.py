"""The scripted remote over real sockets: the same object behind an asyncio server."""

import asyncio

from tests.harness.client_driver import Driver, Job
from tests.harness.scripted_remote import MUTE, ScriptedRemote, ScriptedServer


async def talk(port: int, driver: Driver) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not driver.session.closing:
        octets = await reader.read(65_536)
        if octets:
            driver.session.feed(octets)
        else:
            driver.session.eof()
        while driver.session.has_output:
            writer.write(driver.session.take_output())
    writer.close()
    await writer.wait_closed()


async def test_messages_of_several_connections_are_kept_apart() -> None:
    async with ScriptedServer() as server:
        drivers = [Driver([Job(n, content=b"%d\r\n" % n) for n in range(3)], quit_when_done=True) for _ in range(2)]
        for driver in drivers:
            await talk(server.port, driver)
    contents = [[each.content for each in remote.received] for remote in server.remotes]
    assert contents == [[b"0\r\n", b"1\r\n", b"2\r\n"]] * 2
    assert all(driver.trouble is None and len(driver.outcomes) == 3 for driver in drivers)


async def test_a_remote_that_goes_mute_says_nothing_more() -> None:
    async with ScriptedServer(lambda: ScriptedRemote({"DATA": [MUTE]})) as server:
        driver = Driver([Job(1)])
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while driver.session.stage != "DATA":
            driver.session.feed(await reader.read(65_536))
            while driver.session.has_output:
                writer.write(driver.session.take_output())
        writer.write(b"NOOP\r\n")
        writer.write_eof()
        assert await reader.read() == b""
    writer.close()
    driver.session.timed_out()
    assert driver.trouble[:3] == ("DATA", None, "the deadline passed before the reply to DATA came")


def test_a_drop_takes_the_connection_away_in_the_middle_of_a_pipeline() -> None:
    remote = ScriptedRemote({"RCPT": ["250 ok", "421 going"]}, closed=False)
    driver = Driver([Job(1, ("a@x.example", "b@x.example"))])
    driver.converse(remote)
    assert driver.trouble[:2] == ("RCPT", "421 going")
