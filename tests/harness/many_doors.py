"""A Hermes with a listener for whatever a client may want to try: TLS in every form, client certificates, SNI, PROXY,
XCLIENT, logins, LMTP, unix sockets, IPv6.

Owns: its listeners and where they answer, by name. Never does: assertions about mail; it says what has arrived.
"""

import os
from pathlib import Path
from typing import Any

from tests.harness.certificates import make_certificate
from tests.harness.mail_house import DOMAIN, ZOE, MailHouse
from tests.harness.mta_server import Row, wait_until

#: What a client asks for by SNI to be shown another certificate.
OTHER_NAME = "other.example"
#: Judges the tokens of OAUTHBEARER and XOAUTH2.
TOKENS = 'async def verify(claim):\n    return "mark@minasi.example" if claim.token == "good-token" else None\n'


class ManyDoors(MailHouse):
    """``friend``: a certificate that ``known`` and ``known_implicit`` take from a client."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.other = make_certificate(directory, "other", host=OTHER_NAME)
        self.friend = make_certificate(directory, "friend", host="friend.example")
        tls = {"certificate": str(directory / "cert.pem"), "private_key": str(directory / "key.pem")}
        starttls, implicit = {"tls": "starttls", **tls}, {"tls": "implicit", **tls}
        sni = {
            "certificates": [{"certificate": str(self.other.certificate), "private_key": str(self.other.private_key)}]
        }
        clear = {"dangerously_allow_plaintext_auth": True}
        submission, lmtp = {"protocol": "submission"}, {"protocol": "lmtp"}
        asked = {"client_ca": str(self.friend.certificate)}
        self._doors: dict[str, Row] = {
            "plain": {},
            "tls": {**starttls, **sni},
            "required": {"tls": "required", **tls},
            "implicit": {**implicit, **sni},
            "known": {**starttls, **asked},
            "known_implicit": {**implicit, **asked},
            "proxied": {"proxy_protocol": True},
            "proxied_implicit": {"proxy_protocol": True, **implicit},
            "xclient": {**starttls, "xclient_networks": ["127.0.0.0/8"]},
            "old": {"extensions_off": ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "HELP"]},
            "told": {"vrfy": "trusted"},
            "ipv6": {"address": "[::1]:0"},
            "socket": {"address": f"unix:{directory / 'smtp.sock'}"},
            "submission": {**submission, **starttls},
            "submission_implicit": {**submission, **implicit},
            "clear": {**submission, **clear},
            "lmtp": {**lmtp},
            "lmtp_tls": {**lmtp, **starttls},
            "lmtp_implicit": {**lmtp, **implicit},
            "lmtp_socket": {**lmtp, "address": f"unix:{directory / 'lmtp.sock'}"},
            "pop3": {"protocol": "pop3", **clear},
        }
        own: dict[str, Any] = {
            "listener": [{"address": "127.0.0.1:0", **door} for door in self._doors.values()],
            "local": {"domains": [DOMAIN]},
            "route": [{"domain": "*.example", "to": "discard:"}],
            "login": {"token_verifier": "door_tokens:verify", "failures": "0/min"},  # wrong ones are not answered late
            "limits": {"message_size": "2MiB"},
        }
        super().__init__(directory, **(own | settings))
        (directory / "door_tokens.py").write_text(TOKENS)

    def _environment(self) -> dict[str, str]:
        own = super()._environment()
        return own | {"PYTHONPATH": f"{own['PYTHONPATH']}{os.pathsep}{self.directory}"}

    def where(self, name: str) -> str:
        """HOST:PORT of a listener, or the path of its socket."""
        protocol = self._doors[name].get("protocol", "smtp")
        at = [door for door, own in self._doors.items() if own.get("protocol", "smtp") == protocol].index(name)
        rows = zip(self._protocols, self.listeners, strict=True)
        return [address for kind, address in rows if kind == protocol][at].removeprefix("unix:")

    def port_of(self, name: str) -> int:
        return int(self.where(name).rpartition(":")[2])

    def arrived(self, at_least: int = 0) -> list[bytes]:
        """What is in Zoe's mailbox when nothing is on its way any more; it is empty then. ``at_least``: so many are to
        be waited for, because a client that went before its reply cannot tell whether the queue has its message yet."""
        found: list[bytes] = []

        def there() -> bool:
            found.extend(self._fetched())
            return len(found) >= at_least

        wait_until(there, lambda: f"{at_least} messages in the mailbox: {found}")
        return found

    def _fetched(self) -> list[bytes]:
        self.wait_for_empty_queue()
        with self.pop3(ZOE) as session:
            numbers = range(1, session.count() + 1)
            messages = [session.content(f"RETR {number}") for number in numbers]
            for number in numbers:
                session.say(f"DELE {number}")
        return messages

    def received(self, queue_id: str) -> Row:
        """The reception of the message that was acknowledged with this id."""
        return self.wait_for_event("Reception", id=queue_id)
