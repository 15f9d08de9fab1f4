"""Octets before the greeting: a client that does not wait is told so where we have not greeted yet, and is served like
any other where its octets and our greeting have crossed. In no case does it cost anybody anything."""

from tests.harness.hostile import HELLO, Raw, good_client


def test_a_client_that_speaks_first_is_answered_in_order(server) -> None:
    clients = [Raw(server.port, greeted=False) for _ in range(50)]
    for client in clients:
        client.say(HELLO)
    good_client(server)
    for client in clients:
        with client:
            first = client.reply()
            assert first.startswith("220 ") or first == "554 5.5.0 wait for the greeting"
            if first.startswith("220 "):
                assert client.reply().startswith("250-")
                client.say(b"NOOP\r\nQUIT\r\n")
            assert [reply[:3] for reply in client.rest()] == ["250", "221"] * first.startswith("220 ")


def test_a_client_of_another_protocol_is_sent_away(server) -> None:
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(200)) + b"\n" + b"\r\n" * 40
    for octets in (hello, b"GET / HTTP/1.1\r\nHost: mx\r\n" + b"Cookie: x\r\n" * 10 + b"\r\n"):
        with Raw(server.port, greeted=False) as client:
            client.say(octets)
            replies = client.rest()
            assert replies[-1][:3] in ("421", "550", "554"), replies
