"""swaks with every option that the installed one has: one server with a listener for each, one run after the other.

A run counts if its outcome is asserted: what swaks said, how it ended, what arrived. The list of options is read from
the program itself, so that one which is new to us fails by its name; ``SAYS_NOTHING`` has those that tell nothing about
a server, each with its reason.
"""

import re
import shlex
from typing import Any, NamedTuple

import pytest

from bench.process import free_port
from tests.harness.mail_house import MARK, PEOPLE, ZOE, below_trace
from tests.harness.many_doors import OTHER_NAME, ManyDoors
from tests.harness.swaks import Swaks

PASSWORD = PEOPLE[MARK]
USUAL = f"--helo client.example --from {MARK} --to {ZOE}"
LOGIN = f"--auth-user {MARK} --auth-password {PASSWORD}"
STDIN = b"Subject: from stdin\n\nDear Zoe\n.dot\n"
PROXY = "--proxy-source 192.0.2.9 --proxy-source-port 4000 --proxy-dest 192.0.2.1 --proxy-dest-port 25"
#: Any end but a good one: whether swaks reads of its misfortune or dies writing is a race of its own.
FAILS = -1


class Run(NamedTuple):
    """``door``: of ManyDoors. ``options`` beside ``USUAL``, which come first. ``code``: of swaks. ``says``: parts of
    its output. ``mails``: what arrives at Zoe's; of a single one ``holds`` are parts. ``event``: its reception.
    ``where``: how swaks is led to the door, {door} being its address; "": as is usual."""

    name: str
    door: str
    options: str
    code: int = 0
    says: tuple[str, ...] = ()
    mails: int = 1
    holds: tuple[str, ...] = ()
    event: dict[str, Any] | None = None
    where: str = ""


def protocol(name: str) -> dict[str, Any]:
    return {"reception_protocol": name}


def client(address: str, name: str = "client.example") -> dict[str, Any]:
    return {"peer_address": {"addr": address, "name": name}}


def stages(option: str, *names: str, mails: tuple[str, ...] = (), says: str) -> list[Run]:
    """An end at each of these stages, on the way that has all of them."""
    return [
        Run(f"{option} {name}", "submission", f"{option} {name} --tls {LOGIN}", 0, (says,), int(name in mails))
        for name in names
    ]


WAYS = [
    Run("as usual", "plain", "-4 --timeout 30s", 0, ("250 2.0.0 ",), event=protocol("ESMTP")),
    Run("IPv6", "ipv6", "-6", event=client("::1")),
    Run("server and port apart", "plain", "", where="--server 127.0.0.1 --port {port}"),
    Run("unix socket", "socket", "", event=protocol("ESMTP"), where="--socket {door}"),
    Run("local interface", "plain", "--local-interface 127.0.0.5", event=client("127.0.0.5")),
    Run("local port", "plain", "--local-interface 127.0.0.6 --local-port {free}", event=client("127.0.0.6")),
    Run(
        "through a pipe", "implicit", "", event=protocol("ESMTPS"),
        where="--pipe 'openssl s_client -quiet -connect {door}'",
    ),
    Run("another hello", "plain", "--helo [192.0.2.3]", holds=("Received: from [192.0.2.3] ([127.0.0.1])",)),
    Run("no sender", "plain", "--from <>", 0, ("MAIL FROM:<>",), holds=("Return-Path: <>",)),
    Run("two recipients", "plain", f"--to {ZOE},{MARK}", 0, (f"RCPT TO:<{MARK}>\n<-  250 2.1.5 ok",)),
    Run(
        "one of two is refused", "plain", f"--to nobody@minasi.example,{ZOE}", 0, ("<** 550 5.1.1",),
        event=protocol("ESMTP"),
    ),
    Run("all are refused", "plain", "--to nobody@minasi.example", 24, ("<** 550 5.1.1",), 0),
    Run("commands in one go", "plain", "--pipeline", 0, ("DATA\n<-  250 2.1.0",)),
    Run("some of them refused", "plain", f"--pipeline --to nobody@minasi.example,{ZOE}", 0, ("<** 550 5.1.1",)),
    Run("all of them refused", "plain", "--pipeline --to nobody@minasi.example", 24, ("<** 550 5.1.1",), 0),
    Run("commands one by one where nothing else is offered", "old", "--pipeline", 0, ("<-  250 ok\n -> RCPT",)),
    Run("answers for each recipient", "plain", "--prdr", 30, ("did not advertise PRDR",), 0),
]  # fmt: skip
PROTOCOLS = [
    Run("SMTP", "plain", "--protocol SMTP", 0, ("HELO client.example",), event=protocol("SMTP")),
    Run("ESMTP", "plain", "--protocol ESMTP", event=protocol("ESMTP")),
    Run("ESMTPA", "clear", f"--protocol ESMTPA {LOGIN}", event={**protocol("ESMTPA"), "submitter": MARK}),
    Run("ESMTPS", "required", "--protocol ESMTPS", event=protocol("ESMTPS")),
    Run("ESMTPSA", "submission", f"--protocol ESMTPSA {LOGIN}", event={**protocol("ESMTPSA"), "submitter": MARK}),
    Run("SSMTP", "implicit", "--protocol SSMTP", event=protocol("ESMTPS")),
    Run("SSMTPA", "submission_implicit", f"--protocol SSMTPA {LOGIN}", event=protocol("ESMTPSA")),
    Run("SMTPS", "implicit", "--protocol SMTPS", 0, ("HELO client.example",), event=protocol("SMTP")),
    Run("LMTP", "lmtp", "--protocol LMTP", 0, ("LHLO client", " stored"), event=protocol("LMTP")),
    Run("LMTPS", "lmtp_tls", "--protocol LMTPS", 0, (" ~> LHLO", " stored"), event=protocol("LMTPS")),
    Run("LMTPA", "lmtp", f"--protocol LMTPA {LOGIN}", 28, ("did not advertise auth",), 0),
    Run("LMTPSA", "lmtp_tls", f"--protocol LMTPSA {LOGIN}", 28, ("did not advertise auth",), 0),
    Run("LMTP, implicit TLS", "lmtp_implicit", "--protocol LMTP --tls-on-connect", event=protocol("LMTPS")),
    Run("LMTP, unix socket", "lmtp_socket", "--protocol LMTP", event=protocol("LMTP"), where="--socket {door}"),
    Run(
        "LMTP, two", "lmtp", f"--protocol LMTP --to {ZOE},nobody@minasi.example,{MARK}", 0,
        ("550 5.1.1", "stored\n<-  250"),
    ),
    Run(
        "LMTP, in one go", "lmtp", f"--protocol LMTP --pipeline --to {ZOE},nobody@minasi.example", 0, ("550 5.1.1",),
        1,
    ),
    Run("LMTP to SMTP", "plain", "--protocol LMTP", 22, ("<** 500 5.5.1",), 0),
    Run("SMTP to LMTP", "lmtp", "--protocol ESMTP", 22, ("<** 500 5.5.1",), 0),
]  # fmt: skip
TLS = [
    Run("STARTTLS", "tls", "--tls", 0, ("TLS started with cipher TLSv1.3:",), event=protocol("ESMTPS")),
    Run("not offered", "plain", "--tls", 29, ("did not advertise STARTTLS",), 0),
    Run("from the first octet", "implicit", "--tls-on-connect", event={"tls_protocol_version": "TLSv1.3"}),
    Run("in the clear where it is required", "required", "", 23, ("<** 530 5.7.0",), 0),
    Run("optional, and there", "tls", "--tls-optional", event=protocol("ESMTPS")),
    Run("optional, and not there", "plain", "--tls-optional", event=protocol("ESMTP")),
    Run("optional, and it fails", "tls", "--tls-optional --tls-protocol tlsv1_1", FAILS, ("attempted but failed",), 0),
    Run("strict, and there", "tls", "--tls-optional-strict", event=protocol("ESMTPS")),
    Run("strict, and not there", "plain", "--tls-optional-strict", event=protocol("ESMTP")),
    Run("strict, and it fails", "tls", "--tls-optional-strict --tls-protocol tlsv1_1", 29, mails=0),
    Run("TLS 1.3", "tls", "--tls --tls-protocol tlsv1_3", event={"tls_protocol_version": "TLSv1.3"}),
    Run("TLS 1.2", "tls", "--tls --tls-protocol no_tlsv1_3", event={"tls_protocol_version": "TLSv1.2"}),
    Run("TLS 1.1", "implicit", "--tls-on-connect --tls-protocol tlsv1_1", 29, ("startup failed",), 0),
    Run(
        "a cipher", "tls", "--tls --tls-protocol tlsv1_2 --tls-cipher ECDHE-ECDSA-AES128-GCM-SHA256",
        event={"tls_cipher": "ECDHE-ECDSA-AES128-GCM-SHA256"}, holds=("cipher=ECDHE-ECDSA-AES128-GCM-SHA256)",),
    ),
    Run("a weak cipher", "tls", "--tls --tls-protocol tlsv1_2 --tls-cipher AES128-SHA", 29, ("startup failed",), 0),
    Run("somebody it does not know", "tls", "--tls --tls-verify", 29, ("certificate verify failed",), 0),
    Run("somebody it knows", "tls", "--tls --tls-verify --tls-ca-path {certificate}", 0, ('peer DN="/CN=localhost"',)),
    Run(
        "by another name", "tls", f"--tls --tls-sni {OTHER_NAME} --tls-verify --tls-ca-path {{other}}", 0,
        (f"/CN={OTHER_NAME}",),
    ),
    Run("a name nobody has", "tls", "--tls --tls-sni no.example", 0, ('peer DN="/CN=localhost"',)),
    Run("the certificate", "implicit", "--tls-on-connect --tls-get-peer-cert", 0, ("-----BEGIN CERTIFICATE-----",)),
    Run(
        "its own certificate", "known", "--tls --tls-cert {friend} --tls-key {friend_key}",
        0, ('local DN="/CN=friend.example"',), event={"tls_peer": "commonName=friend.example"},
    ),
    Run("none of its own", "known_implicit", "--tls-on-connect", 0, ("no local certificate set",)),
    Run("a stranger's", "known", "--tls --tls-cert {other} --tls-key {other_key}", FAILS, mails=0),
    Run(
        "a stranger's, TLS 1.2", "known", "--tls --tls-protocol tlsv1_2 --tls-cert {other} --tls-key {other_key}",
        FAILS, mails=0,
    ),
]  # fmt: skip
AUTH = [
    Run("any", "submission", f"--tls --auth {LOGIN}", 0, ("235 2.7.0",), event=protocol("ESMTPSA")),
    Run("PLAIN", "submission", f"--tls --auth PLAIN {LOGIN}", 0, ("AUTH PLAIN ", "235 2.7.0")),
    Run("LOGIN", "submission", f"--tls --auth LOGIN {LOGIN}", 0, ("AUTH LOGIN\n", "235 2.7.0")),
    Run(
        "its prompts", "submission", f"--tls --auth LOGIN --auth-plaintext {LOGIN}", 0,
        ("334 Username:", "334 Password:"),
    ),
    Run("unknown to us", "submission", f"--tls --auth CRAM-MD5 {LOGIN}", 28, ("requested type not available",), 0),
    Run("its second choice", "submission", f"--tls --auth CRAM-MD5,CRAM-SHA1,LOGIN {LOGIN}", 0, ("AUTH LOGIN",)),
    Run("wrong password", "submission", f"--tls {LOGIN} --auth-password no", 28, ("535 5.7.8",), 0),
    Run("empty password", "submission", f"--tls {LOGIN} --auth-password <>", 28, ("535 5.7.8",), 0),
    Run("nobody", "submission", f"--tls {LOGIN} --auth-user nobody", 28, ("535 5.7.8",), 0),
    Run(
        "a name of its own", "submission", f"--tls --auth OURS --auth-map OURS=PLAIN {LOGIN}", 28, ("not available",),
        0,
    ),
    Run(
        "PLAIN for SCRAM", "submission", f"--tls --auth SCRAM-SHA-256 --auth-map SCRAM-SHA-256=PLAIN {LOGIN}", 28,
        ("535 5.7.8",), 0,
    ),
    Run(
        "LOGIN for a token", "submission", f"--tls --auth XOAUTH2 --auth-map XOAUTH2=LOGIN {LOGIN}", 28,
        ("535 5.7.8",), 0,
    ),
    Run(
        "with more about itself", "submission", f"--tls --auth PLAIN --auth-extra REALM=minasi.example {LOGIN}", 0,
        ("235",),
    ),
    Run("optional, no login here", "plain", f"--auth-optional {LOGIN}", 0, ("did not advertise auth",)),
    Run(
        "optional, and it fails", "submission", f"--tls --auth-optional {LOGIN} --auth-password no", 23,
        ("530 5.7.0",), 0,
    ),
    Run("optional, of a kind", "submission", f"--tls --auth-optional PLAIN {LOGIN}", event={"submitter": MARK}),
    Run("strict, no login here", "plain", f"--auth-optional-strict {LOGIN}", 0, ("did not advertise auth",)),
    Run(
        "strict, and it fails", "submission", f"--tls --auth-optional-strict {LOGIN} --auth-password no", 28,
        ("535",), 0,
    ),
    Run("strict, and it works", "submission", f"--tls --auth-optional-strict {LOGIN}", event={"submitter": MARK}),
    Run("not before TLS", "submission", f"--auth PLAIN {LOGIN}", 28, ("did not advertise authentication",), 0),
    Run("as somebody else", "submission", f"--tls {LOGIN} --from {ZOE}", 23, ("553 5.7.1",), 0),
]  # fmt: skip
XCLIENT = [
    Run("its address", "xclient", "--xclient-addr 192.0.2.7 --xclient-name far.example", event=client("192.0.2.7")),
    Run("who may not relay", "xclient", "--xclient-addr 192.0.2.7 --to x@arlington.example", 24, ("550 5.7.1",), 0),
    Run("in words of its own", "xclient", "--xclient 'ADDR=IPV6:2001:db8::7 PORT=7'", event=client("2001:db8::7")),
    Run(
        "all that there is", "xclient",
        "--xclient-addr 192.0.2.7 --xclient-port 7 --xclient-proto ESMTP "
        "--xclient-helo far.example --xclient-destaddr 192.0.2.1 --xclient-destport 25",
        event=client("192.0.2.7"),
    ),
    Run(
        "in two commands", "xclient", "--xclient-addr 192.0.2.7 --xclient-delim --xclient-name far.example", 0,
        ("XCLIENT NAME=far",), event=client("192.0.2.7"),
    ),
    Run("under TLS", "xclient", "--tls --xclient-addr 192.0.2.7", 0, (" ~> XCLIENT ADDR",), event=client("192.0.2.7")),
    Run(
        "before TLS", "xclient", "--tls --xclient-before-starttls --xclient-addr 192.0.2.7", 0, (" -> XCLIENT ADDR",),
        event={**client("192.0.2.7"), **protocol("ESMTPS")},
    ),
    Run(
        "what is not offered", "xclient", "--xclient-reverse-name far.example", 33, ("did not advertise requested",),
        0,
    ),
    Run(
        "what is not offered, said anyway", "xclient", "--xclient-reverse-name far.example --xclient-no-verify", 33,
        ("501 5.5.4",), 0,
    ),
    Run("who has logged in there", "xclient", f"--xclient-login {MARK}", 33, ("550 5.7.0",), 0),
    Run(
        "refused, which is as well", "xclient", f"--xclient-login {MARK} --xclient-optional", 0, ("550 5.7.0",),
        event=client("127.0.0.1"),
    ),
    Run("refused, which is not", "xclient", f"--xclient-login {MARK} --xclient-optional-strict", 33, ("550 5.7.0",), 0),
    Run("not offered", "plain", "--xclient-addr 192.0.2.7", 33, ("did not advertise XCLIENT",), 0),
    Run(
        "not offered, which is as well", "plain", "--xclient-addr 192.0.2.7 --xclient-optional-strict",
        event=client("127.0.0.1"),
    ),
]  # fmt: skip
BEHIND = [
    Run("version 1", "proxied", f"--proxy-family TCP4 {PROXY}", event=client("192.0.2.9")),
    Run(
        "version 2", "proxied",
        f"--proxy-version 2 --proxy-command PROXY --proxy-protocol STREAM --proxy-family AF_INET {PROXY}",
        event=client("192.0.2.9"),
    ),
    Run(
        "in words of its own", "proxied", "--proxy 'TCP6 2001:db8::9 2001:db8::1 4000 25'",
        event=client("2001:db8::9"),
    ),
    Run("a client it does not know", "proxied", "--proxy UNKNOWN", event=client("0.0.0.0")),
    Run(
        "before TLS", "proxied_implicit", f"--tls-on-connect --proxy-family TCP4 {PROXY}",
        event={**client("192.0.2.9"), **protocol("ESMTPS")},
    ),
    Run("no stream", "proxied", f"--proxy-version 2 --proxy-protocol DGRAM --proxy-family AF_INET {PROXY}", 6, mails=0),
    # LOCAL is 0 in version 2; this swaks says 2, and cuts the header short.
    Run(
        "the proxy itself", "proxied", f"--proxy-version 2 --proxy-command LOCAL --proxy-family AF_UNSPEC {PROXY}", 6,
        mails=0,
    ),
    Run("more than five fields", "proxied", "--proxy 'TCP4 192.0.2.9 192.0.2.1 4000 25 26'", 6, mails=0),
    # 500, or 554 where the next command has come as well: it did not wait for the reply to this one.
    Run("where none is asked for", "plain", "--proxy 'TCP4 192.0.2.9 192.0.2.1 4000 25'", FAILS, ("<** 5",), 0),
]  # fmt: skip
ENDS = [
    *stages("--quit-after", "connect", "first-helo", "tls", "helo", "auth", "mail", "rcpt", says="221 2.0.0 bye"),
    *stages(
        "--drop-after", "connect", "first-helo", "tls", "helo", "auth", "mail", "rcpt", "data", "dot",
        mails=("dot",), says="Dropping connection",
    ),
    # What was sent to its end is taken, whether or not somebody waits for the reply.
    *stages(
        "--drop-after-send", "first-helo", "tls", "helo", "auth", "mail", "rcpt", "data", "dot",
        mails=("dot",), says="Dropping connection",
    ),
    Run("quit after XCLIENT", "xclient", "--xclient-addr 192.0.2.7 --quit-after xclient", 0, ("221 2.0.0",), 0),
    Run("drop after XCLIENT", "xclient", "--xclient-addr 192.0.2.7 --drop-after xclient", 0, ("Dropping",), 0),
    Run(
        "drop after sending XCLIENT", "xclient", "--xclient-addr 192.0.2.7 --drop-after-send xclient", 0,
        ("Dropping",), 0,
    ),
    Run("drop in a pipeline", "plain", "--pipeline --drop-after-send rcpt", 0, ("Dropping connection",), 0),
]  # fmt: skip
CONTENT = [
    Run("a body", "plain", "--body 'Dear Zoe\\n.\\n..dots'", holds=("\r\nDear Zoe\r\n.\r\n..dots\r\n",)),
    Run("a body from stdin", "plain", "--body -", holds=("\r\nDear Zoe\r\n.dot\r\n",)),
    Run("a message", "plain", "--data -", holds=("Subject: from stdin\r\n\r\nDear Zoe\r\n.dot\r\n",)),
    Run(
        "a message from mbox", "plain", "--data 'From mark now\\nSubject: x\\n\\ny'",
        holds=(" +0000\r\nSubject: x\r\n\r\ny",),
    ),
    Run(
        "with the line of mbox", "plain", "--no-strip-from --data 'From mark now\\nSubject: x\\n\\ny'",
        holds=("\r\nFrom mark now\r\n",),
    ),
    Run("untouched", "plain", "--no-data-fixup --data @{raw}", holds=("Subject: raw\r\n\r\n.a dot\r\n",)),
    # A line end that is none is no end of content: one message, or none.
    Run("bare LF around a dot", "plain", "--no-data-fixup --data @{bare}", FAILS, mails=0),
    Run(
        "more header", "plain", "--header 'Subject: mine' --add-header 'X-Mine: yes'",
        holds=("Subject: mine\r\n", "X-Mine: yes\r\n"),
    ),
    Run(
        "attached", "plain",
        "--attach-type text/x-mine --attach-name mine.txt --attach @{raw} --attach-body 'Dear Zoe'",
        holds=("text/x-mine", 'filename="mine.txt"'),
    ),
    # What swaks tells of itself has LF for line ends.
    Run("about itself", "clear", f"{LOGIN} --dump-as-body", 26, ("PROVIDED_BUT_REMOVED", "<** 550 5.5.2"), 0),
    Run("about itself, all", "clear", f"{LOGIN} --dump-as-body-shows-password", 26, (PASSWORD, "<** 550 5.5.2"), 0),
    Run("unseen", "plain", "--suppress-data --body 'Dear Zoe'", 0, (" lines sent",), holds=("Dear Zoe",)),
    Run(
        "beyond ASCII", "plain", "--body 'Grüße' --header 'Subject: Grüße'",
        holds=("Subject: Grüße\r\n", "\r\nGrüße\r\n"),
    ),
]  # fmt: skip
RUNS = {
    f"{group}: {run.name}": run
    for group, runs in (
        ("way", WAYS), ("protocol", PROTOCOLS), ("tls", TLS), ("auth", AUTH), ("xclient", XCLIENT), ("proxy", BEHIND),
        ("end", ENDS), ("content", CONTENT),
    )
    for run in runs
}  # fmt: skip
_PRINTS = "how what was said is printed"
_SENDS_NOTHING = "connects to nobody"
SAYS_NOTHING = {
    "config": "where options are read from",
    "copy-routing": "asks the DNS for the MX hosts of a domain; which server that is, is no server's affair",
    "force-getpwuid": "where the sender is taken from when none is given",
    "auth-hide-password": _PRINTS,
    "silent": _PRINTS,
    "no-hints": _PRINTS,
    "no-send-hints": _PRINTS,
    "no-receive-hints": _PRINTS,
    "no-info-hints": _PRINTS,
    "hide-receive": _PRINTS,
    "hide-send": _PRINTS,
    "hide-informational": _PRINTS,
    "hide-all": _PRINTS,
    "show-time-lapse": _PRINTS,
    "show-raw-text": _PRINTS,
    "output": _PRINTS,
    "output-file-stdout": _PRINTS,
    "output-file-stderr": _PRINTS,
    "protect-prompt": "how a password is typed",
    "support": _SENDS_NOTHING,
    "version": _SENDS_NOTHING,
    "help": _SENDS_NOTHING,
    "dump": _SENDS_NOTHING,
    "dump-mail": _SENDS_NOTHING,
    "trigger-deprecation": "a test of swaks itself",
}


@pytest.fixture(scope="module")
def swaks() -> Swaks:
    return Swaks()


@pytest.fixture(scope="module")
def house(doors: ManyDoors) -> ManyDoors:
    (doors.directory / "raw").write_bytes(b"Subject: raw\r\n\r\n..a dot\r\n.")
    (doors.directory / "bare").write_bytes(b"Subject: bare\r\n\r\nx\n.\nMAIL FROM:<x@minasi.example>\r\n.")
    return doors


def command_line(run: Run, house: ManyDoors) -> list[str]:
    places = {
        "door": house.where(run.door),
        "port": house.where(run.door).rpartition(":")[2],
        "free": str(free_port()),
        "certificate": house.certificate.file,
        "other": house.other.certificate,
        "other_key": house.other.private_key,
        "friend": house.friend.certificate,
        "friend_key": house.friend.private_key,
        "raw": house.directory / "raw",
        "bare": house.directory / "bare",
    }
    return shlex.split(f"{run.where or '--server {door}'} {USUAL} {run.options}".format_map(places))


@pytest.mark.parametrize("name", RUNS)
def test_swaks(house: ManyDoors, swaks: Swaks, name: str) -> None:
    run = RUNS[name]
    if "-6" in run.options.split() and "IPv6 supported" not in swaks.support:
        pytest.skip("this swaks has no IPv6 (Debian: libio-socket-inet6-perl)")
    done = swaks.run(*command_line(run, house), stdin=STDIN)
    arrived = [message.decode() for message in house.arrived(run.mails)]
    assert (done.returncode == run.code) if run.code != FAILS else done.returncode, done.stdout
    for words in run.says:
        assert words in done.stdout
    assert len(arrived) == run.mails, (done.stdout, arrived)
    for words in run.holds:
        assert words in arrived[0]
    taken = re.search(r"250 (?:2\.0\.0 )?(\w+) (?:queued|stored)", done.stdout)
    if run.event is not None:
        assert taken, done.stdout
        event = house.received(taken[1])
        assert {key: event.get(key) for key in run.event} == run.event


def test_every_option_is_tried_or_says_nothing_about_a_server(swaks: Swaks) -> None:
    lines = [f"{run.where or '--server {door}'} {USUAL} {run.options}" for run in RUNS.values()]
    tried, known = swaks.used(lines), set(swaks.options.values())
    assert len(known) > 90  # its table was found
    assert known - tried - set(SAYS_NOTHING) == set()
    assert tried & set(SAYS_NOTHING) == set()
    assert set(SAYS_NOTHING) <= known


def test_every_protocol_is_tried(swaks: Swaks) -> None:
    assert len(swaks.protocols) > 10
    assert {name for name in swaks.protocols if f"protocol: {name.upper()}" not in RUNS} == set()


def test_its_certificate_is_the_one_we_have(house: ManyDoors, swaks: Swaks) -> None:
    seen = house.directory / "seen.pem"
    done = swaks.run("--server", house.where("tls"), "--tls", "--tls-get-peer-cert", str(seen), "--quit-after", "tls")
    assert done.returncode == 0, done.stdout
    assert seen.read_text().strip() == house.certificate.file.read_text().strip()


def test_what_it_would_send_is_what_arrives(house: ManyDoors, swaks: Swaks) -> None:
    """Octet by octet, with an attachment, dots and 8 bits in it."""
    server = ["--server", house.where("plain"), "--from", MARK, "--to", ZOE]
    attached = ["--body", "Grüße\n.\n..", "--attach", f"@{house.directory / 'raw'}"]
    letter = swaks.run(*server, *attached, "--dump-mail").stdout.encode()
    (house.directory / "letter").write_bytes(letter + b"\n.")
    done = swaks.run(*server, "--no-data-fixup", "--data", f"@{house.directory / 'letter'}")
    assert done.returncode == 0, done.stdout
    [arrived] = house.arrived()
    assert below_trace(arrived) == letter.replace(b"\r\n..", b"\r\n.") + b"\n"
