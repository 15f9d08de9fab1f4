"""Where Postfix 3.7, Exim 4.96 and OpenSMTPD 6.8 (Debian 12) answer otherwise than Hermes, and who is right.

Owns: the table, by peer and dialogue. Reasons were read off replies and what was sent on, those of the vectors off the
classes alone; of the settings that are named only strict_smtputf8 was changed to see. Never does: explain Hermes; its
answers are those of RFC 5321 §2.3.8 (CR and LF only together) and §4.1.1.4 (only CRLF . CRLF ends content).
"""

from collections.abc import Iterator
from typing import NamedTuple


class Row(NamedTuple):
    """``outcomes``: classes of the replies and messages accepted, each that has been seen; with ``sometimes`` a regular
    expression, because it depends on how octets arrive at the peer, and there may be no difference in a run."""

    outcomes: tuple[tuple[str, int], ...]
    why: str
    sometimes: bool = False


#: What a peer is not asked, and why.
NOT_PLAYED = {
    (
        "exim",
        "too much in chunks, each of them read",
    ): "Exim 4.96 keeps the mark of a chunked message (-spool_file_wireformat) when the chunk was refused; the message "
    "that it then takes by DATA is sent on with bare LFs for line ends, so that whoever gets it waits for its end",
}


def _vectors(places: str, *octets: str) -> Iterator[str]:
    for one in octets:
        yield from (f"vector {one} {place}" for place in places.split())


#: By what is bare in them.
_LF = ("0a2e0a", "0a2e0d0a", "0d0a2e0a", "2e0a", "7878780a2e0a")
_LF_CR = ("0a2e0d", "0d2e0a")
_CR = ("0d2e0d", "0d2e0d0a", "0d0a2e0d0d0a", "0d0d0a2e0d0d0a", "0d0a2e0d")
_LINES = "line start"
DIFFERENCES: dict[tuple[str, str], Row] = {}


def _row(peer: str, classes: str, accepted: int, why: str, *names: str) -> None:
    DIFFERENCES.update({(peer, name): Row(((classes, accepted),), why) for name in names})


_STAYS = "refused as Hermes does it, but the connection stays open; nothing of the content is read as commands"
_row("postfix", "222352", 0, _STAYS, "a bare LF in content", "a bare LF in a header",
     "too much, then a smuggled end, then more commands", "BDAT smuggled behind dot LF",
     *_vectors("line start large", *_LF, *_LF_CR), *_vectors("large", *_CR))  # fmt: skip
_row("postfix", "22252", 0, _STAYS, "a bare LF in a chunk")
_row("postfix", "222322", 1,
     "Postfix takes a bare CR for a space (cleanup_replace_stray_cr_lf): one message all the same",
     "a bare CR in content", *_vectors(_LINES, *_CR))  # fmt: skip
_row("postfix", "2222322", 1, "Postfix takes UTF-8 in addresses without SMTPUTF8 where strict_smtputf8 = no, as usual",
     "an 8-bit recipient does not spoil the next", "an 8-bit VRFY between")  # fmt: skip
_row("postfix", "2222322", 1, "Postfix takes controls in the argument of NOOP, which it does not look at",
     "a bare CR ends no command", "a NUL in a command")  # fmt: skip
_row("postfix", "2222322", 1,
     "Postfix cuts a command off at 2,048 octets (line_length_limit) and executes its beginning",
     "a command of 3,000 octets")  # fmt: skip
_row("postfix", "255552", 0,
     "Postfix remembers the SIZE that it has refused, and holds it against a MAIL that says none",
     "a size beyond the limit")  # fmt: skip

_row("exim", "2222322", 1, "Exim takes 8-bit octets in commands without SMTPUTF8",
     "an 8-bit recipient does not spoil the next", "an 8-bit octet in a command")  # fmt: skip
_row("exim", "2222322", 1, "Exim's lines of commands may have 16,383 octets", "a command of 3,000 octets")
_row(
    "exim",
    "2525555",
    0,
    "Exim takes -1 for a huge number and +1 for 1; the others are nested then, and it hangs up "
    "at the fourth error (smtp_max_synprot_errors)",
    "sizes that are none",
)
_row("exim", "22222322", 1, "Exim ends commands at a bare LF", "a bare LF ends no command")
_row("exim", "22252322", 1, "Exim ends commands at a bare LF, also those of an envelope",
     "an envelope in one line with bare LFs")  # fmt: skip
_row("exim", "2522322", 1, "refused, but the connection stays open", "a bare CR ends no command")
_row("exim", "222322", 1, "Exim takes a bare CR as a line end, and a bare LF as a space: one message all the same",
     "a bare LF in content", "a bare CR in content", "a bare LF in a header", "BDAT smuggled behind dot LF",
     *_vectors(_LINES, *_LF, *_LF_CR, *_CR))  # fmt: skip
_row("exim", "22222", 1, "Exim takes a bare LF in a chunk as a line end", "a bare LF in a chunk")
_row("exim", "2223522322", 1, "SMUGGLED: the content is too large, and where Exim discards the rest of it LF . LF is "
     "an end: what follows is read as commands, and a message accepted that nobody sent",
     "too much, then a smuggled end, then more commands", *_vectors("large", *_LF))  # fmt: skip
_row("exim", "222352", 0, _STAYS, *_vectors("large", *_LF_CR, *_CR))
_SIZE = "a chunk size that is none: {}"
_row("postfix", "222252", 0, "Postfix takes more than one space for one", _SIZE.format(" 1"))
for _size in ("+5", "1_0", "1 LAST x", " 1"):
    DIFFERENCES["exim", _SIZE.format(_size)] = Row(
        (("222252", 0), ("222252?", 0), ("2222524", 0)),
        "Exim takes what begins with a number, and overlooks the rest, LAST too",
    )
for _size in ("-1", "9" * 25):
    _row("exim", "222?", 0, "Exim takes it for a huge number, and waits for as many octets", _SIZE.format(_size))
_row("exim", "22253?", 0, "refused, but the transaction is still there, and DATA may follow", _SIZE.format("x"))
DIFFERENCES["exim", "QUIT between chunks"] = Row(
    (("22222", 0), ("222224", 0)),
    "Exim may say 421 behind its 221 when it has been left in the middle of a message",
    True,
)

_row("opensmtpd", "2225352", 0,
     "OpenSMTPD refuses every second EHLO, the transaction goes on, and what follows is its content",
     "a second hello resets")  # fmt: skip
_row(
    "opensmtpd",
    "225555552322",
    1,
    "OpenSMTPD offers SIZE and does not look at its value: the first MAIL is taken, the others are nested",
    "sizes that are none",
)
_row("opensmtpd", "2252322", 1, "the same; the message goes on in the first transaction", "a size beyond the limit")
_row("opensmtpd", "25", 0, "OpenSMTPD hangs up on a line above 2,047 octets", "a command of 3,000 octets")
_row("opensmtpd", "255", 0, "the same", "a long command is not split")
_row("opensmtpd", "2522322", 1, "refused, but the connection stays open", "a bare CR ends no command")
_row("opensmtpd", "222322", 1, "OpenSMTPD takes a bare LF as a line end, and sends a bare CR on as it is: one message",
     "a bare LF in content", "a bare CR in content", *_vectors(_LINES, *_LF_CR, *_CR), "vector 2e0a line")  # fmt: skip
_row("opensmtpd", "222352", 0, "OpenSMTPD takes a bare LF as a line end; what follows it is refused for being no field",
     "a bare LF in a header")  # fmt: skip
_row("opensmtpd", "222352", 0, _STAYS, *_vectors("large", *_LF_CR, *_CR))
for _name in ("a bare LF ends no command", "an envelope in one line with bare LFs"):
    DIFFERENCES["opensmtpd", _name] = Row(
        (("2[25]*5", 0), ("222[25]+2322", 1)),
        "OpenSMTPD ends commands at a bare LF, and hangs up when the next one is there too early",
        True,
    )
for _name in (
    "too much, then a smuggled end, then more commands",
    *_vectors("line start large", *_LF, "0d0a2e000d0a"),
):
    if _name != "vector 2e0a line":
        DIFFERENCES["opensmtpd", _name] = Row(
            (("2223[235]+", 0), ("2223[235]+", 1), ("2223[235]+", 2)),
            "SMUGGLED: a dot before a bare LF, or NUL, ends content. OpenSMTPD hangs up only where more is there than "
            "it expects of a server without PIPELINING; an octet at a time under TLS, it accepts both messages",
            True,
        )
