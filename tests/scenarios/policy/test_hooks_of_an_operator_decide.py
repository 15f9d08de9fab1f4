"""Policies in Python at a running server: they decide, are read anew with SIGHUP, and broken ones cost 78 or a 451."""

import os
import smtplib
from pathlib import Path
from signal import SIGHUP

import pytest

from tests.harness.mta_server import MESSAGE, MtaServer
from tests.harness.stories import route

POLICY = """
import asyncio
from mta.policy.hooks import AddHeaders, Discard, Redirect, Reject

class Policy:
    def __init__(self, word, told):
        self.word, self.told = word, told

    def mail(self, mail):
        if mail.sender.startswith("broken"):
            raise RuntimeError("a bug of the operator's")
        return AddHeaders((("X-Seen-By", "policy"),))

    async def rcpt(self, rcpt):
        await asyncio.sleep(0)
        if rcpt.recipient.startswith("old."):
            return Redirect("new@arlington.example")

    def content(self, content):
        if self.word.encode() in content.content:
            return Reject(554, "5.7.1", f"we do not take {self.word}")

    def delivered(self, outcome):
        with open(self.told, "a") as file:
            file.write(f"{outcome.id} {outcome.recipient} {outcome.code}\\n")
"""


def hook(directory: Path, **options: object) -> list[dict[str, object]]:
    return [{"module": "operators_policy:Policy", "path": str(directory), "options": options}]


def refused(server: MtaServer, sender: str = "alice@athena.example") -> tuple[int, str]:
    wanted = pytest.raises((smtplib.SMTPDataError, smtplib.SMTPSenderRefused))
    with server.connect() as session, wanted as caught:
        session.sendmail(sender, ["bob@arlington.example"], MESSAGE)
    return caught.value.smtp_code, caught.value.smtp_error.decode()


def test_hooks_of_an_operator_decide(mta, sink, tmp_path) -> None:
    (tmp_path / "operators_policy.py").write_text(POLICY)
    told = tmp_path / "told.txt"
    remote = sink()
    settings = {"workers": 2, "route": [route("*", remote.port)]}
    server = mta(hook=hook(tmp_path, word="potatoes", told=str(told)), **settings)
    first = server.send("old.joe@arlington.example")
    [message] = remote.wait_for(1)
    assert message.recipients == ["new@arlington.example"]
    assert b"\r\nX-Seen-By: policy\r\nFrom: " in message.content.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r")
    server.wait_for_event("Delivery", id=first)
    server.wait_for_empty_queue()
    assert told.read_text() == f"{first} new@arlington.example 250\n"

    code, text = refused(server, sender="broken@athena.example")
    assert (code, text) == (451, "4.3.0 policy is out of order, try again later")
    assert 'RuntimeError("a bug of the operator\'s")' in server.await_line("hook operators_policy:Policy: mail raised")
    assert server.metrics()["mta_hook_failures_total"] == 1

    server.configure(hook=hook(tmp_path, word="Once", told=str(told)), **settings)
    server.signal(SIGHUP)
    server.await_line("reload: done")
    assert refused(server) == (554, "5.7.1 we do not take Once")
    assert server.metrics()['mta_rejections_total{reason="hook"}'] == 2

    (tmp_path / "operators_policy.py").write_text("import nothing_of_that_name\n")
    server.signal(SIGHUP)
    assert "hook[0]: operators_policy:Policy: ModuleNotFoundError" in server.await_line("reload: ")
    assert refused(server) == (554, "5.7.1 we do not take Once"), "what runs goes on"
    server.wait_for_empty_queue()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "AttributeError: module 'operators_policy' has no attribute 'Policy'"),
        ("x = ", "SyntaxError: "),
        ("class Policy: pass", "TypeError: Policy() takes no arguments"),
        ("class Policy:\n    def __init__(self, word): pass\n", "TypeError: has none of the methods connect, "),
        ("class Policy:\n    def __init__(self, word): raise ValueError('one\\ntwo')\n", "ValueError: one two"),
    ],
)
def test_a_hook_that_cannot_be_made_ends_the_start_with_78_and_one_line(tmp_path, text: str, said: str) -> None:
    (tmp_path / "operators_policy.py").write_text(text)
    server = MtaServer(tmp_path / "mta", hook=hook(tmp_path, word="x"))
    checked = server.mta("check")
    assert checked.returncode == os.EX_CONFIG
    assert f"hook[0]: operators_policy:Policy: {said}" in checked.stderr
    assert len(checked.stderr.splitlines()) == 1
    server.begin()
    assert server.wait() == os.EX_CONFIG
    assert len([line for line in server.stderr if said in line]) == 1
    assert not any("Traceback" in line for line in server.stderr)
