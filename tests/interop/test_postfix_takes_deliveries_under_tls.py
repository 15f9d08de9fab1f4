"""Our client side against a Postfix of its own: STARTTLS with a checked certificate, BDAT, DSN, SMTPUTF8, and what
comes out behind it."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from bench.peers import Postfix
from bench.process import free_port
from mta.metrics.layout import DELIVERED
from mta.model.message import Recipient
from mta.routing.destination import Destination, Host
from tests.harness.certificates import make_certificate
from tests.harness.scripted_remote import EXTENSIONS, Received, ScriptedRemote, ScriptedServer
from tests.harness.works import SETTINGS, Works

LARGE = b"Subject: large\r\n\r\n" + b".a line with a dot, and one without:\r\nhello\r\n" * 40_000 + b".\r\n"
_TLS = """\
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {private_key}
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
smtputf8_enable = yes
"""


@pytest.fixture
def relayed(tmp_path: Path) -> Callable[..., tuple[list[Received], list[dict]]]:
    """Sends what ``post`` does through a Postfix; gives what came out of it behind, and our events."""
    missing = Postfix.missing()
    if missing:
        if os.environ.get("MTA_REQUIRE_PEERS"):
            pytest.fail(f"Postfix {missing}, and MTA_REQUIRE_PEERS is set")
        pytest.skip(f"Postfix {missing}")
    pair = make_certificate(tmp_path)
    # Its programs run under other users, which pytest's own directories keep out.
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)

    async def scene(post: Callable[[Works], int], port: int, postfix_port: int) -> tuple[list[Received], list[dict]]:
        sink = ScriptedServer(lambda: ScriptedRemote(extensions=(*EXTENSIONS, "SMTPUTF8", "DSN")))
        works = Works(tmp_path, SETTINGS._replace(tls_authorities=pair.certificate))
        host = Host("localhost", postfix_port, 0, ("127.0.0.1",))
        works.router.destination = Destination("site.example", "smtp", (host,), tls="verify")
        async with sink:
            server = await asyncio.get_running_loop().create_server(sink._shell, "127.0.0.1", port)
            count = post(works)
            await works.until(DELIVERED, count)
            async with asyncio.timeout(60):
                while sum(len(remote.received) for remote in sink.remotes) < count:
                    await asyncio.sleep(0.05)
            server.close()
            works.delivery.drain()
            await works.connections_end()
            works.nothing_left()
            await works.end()
        return [each for remote in sink.remotes for each in remote.received], works.happened()

    def run(post: Callable[[Works], int]) -> tuple[list[Received], list[dict]]:
        port = free_port()
        further = _TLS.format(certificate=pair.certificate, private_key=pair.private_key)
        postfix = Postfix("postfix", directory, port, further)
        try:
            return uvloop.run(scene(post, port, postfix.start()))
        finally:
            postfix.stop()
            shutil.rmtree(directory)

    return run


def test_content_comes_out_unchanged_and_what_was_asked_for_goes_on(relayed) -> None:
    def post(works: Works) -> int:
        works.post(Recipient("small@b.example", "b.example"))
        works.post(Recipient("large@b.example", "b.example"), content=LARGE)
        asked = Recipient("dsn@b.example", "b.example", notify="SUCCESS,FAILURE", orcpt="rfc822;o+2Bx@b.example")
        works.post(asked, envid="QQ314159", ret="HDRS")
        works.post(Recipient("jürgen@b.example", "b.example"), smtputf8=True)
        return 4

    received, events = relayed(post)
    by_name = {each.recipients[0].partition("@")[0]: each for each in received}
    assert set(by_name) == {"small", "large", "dsn", "jürgen".encode().decode("latin-1")}
    assert by_name["large"].content.endswith(LARGE.partition(b"\r\n\r\n")[2])
    assert " ENVID=QQ314159" in by_name["dsn"].mail
    assert "NOTIFY=SUCCESS,FAILURE" in by_name["dsn"].arguments[0]
    assert {(event["tls_protocol_version"], event["tls_verified"]) for event in events} == {("TLSv1.3", True)}
    assert all(event["type"] == "Delivery" for event in events)
