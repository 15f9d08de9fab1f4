"""A route with TLS, a checked certificate and a password in a file, from the configuration to the wire."""

from pathlib import Path

import pytest

from mta.net.tls import server_context
from tests.harness.certificates import make_certificate
from tests.harness.scripted_remote import EXTENSIONS, ScriptedRemote, ScriptedServer


@pytest.mark.parametrize("tls", ["verify", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_mail_goes_through_a_smarthost(mta, loop_thread, tmp_path: Path, tls: str, mechanism: str) -> None:
    pair = make_certificate(tmp_path)
    tmp_path.chmod(0o755)
    password = tmp_path / "password"
    password.write_text("secret\n")
    auth = (*EXTENSIONS, f"AUTH {mechanism}")
    first = auth if tls == "implicit" else (*EXTENSIONS, "STARTTLS")
    hub = ScriptedServer(
        lambda: ScriptedRemote(extensions=first, secured=auth, people={"we": "secret"}),
        context=server_context(*pair),
        implicit=tls == "implicit",
    )
    loop_thread.run(hub.__aenter__())
    try:
        to = f"smtp://localhost:{hub.port}"
        route = {"domain": "*", "to": to, "tls": tls, "username": "we", "password_file": str(password)}
        server = mta(route=[route], delivery={"tls_authorities": str(pair.certificate)}, user="")
        server.send()
        event = server.wait_for_event("Delivery")
        server.wait_for_empty_queue()
        server.stop()
    finally:
        loop_thread.run(hub.__aexit__(None, None, None))
    assert event["tls_verified"]
    assert event["tls_protocol_version"] == "TLSv1.3"
    assert event["site"] == f"{to} tls={tls} as we"
    [remote] = [remote for remote in hub.remotes if remote.received]
    assert remote.logins == ["we"]
