"""The corpus ``postfix-vectors`` where it is about addresses: host names, arguments of MAIL, international domains.

Where we read one otherwise than Postfix it stands in a table with its reason; the other files of the corpus are listed
with the reason why they are no test of ours.
"""

import re

import pytest

from mta_ext.path import parse_path, valid_address_literal, valid_domain
from tests.harness.corpora import corpus
from tests.harness.recording_handler import new_session, play

#: By the beginning of their names: what is not read here.
NOT_OURS = {
    "dns_ smtp_ no- nxdomain_ error. mxonly_ nullmx_ dnsbl_": "the DNS as Postfix's "
    "drivers print it; ours is tested with zones",
    "global_mime_": "contents: they go through unchanged, see interop/test_the_corpora_pass_unchanged.py",
    "global_fold_ global_mail_addr_crunch global_quote_ global_resolve_ global_rewrite_ global_tok822_ strip_addr": ""
    "RFC 822 addresses in headers, and rewriting: we rewrite nothing",
    "smtpd_smtpd_acl smtpd_smtpd_addr_valid smtpd_smtpd_check smtpd_smtpd_dns smtpd_smtpd_error smtpd_smtpd_exp "
    "smtpd_smtpd_nullmx smtpd_smtpd_server": "Postfix's access tables, with its configuration at their head",
    "util_casefold_test util_host_port util_sane_basename delivered_hdr": "functions that we have no counterpart of",
    "LICENSE SOURCE": "no vectors",
}
READ = ("smtpd_smtpd_token.in", "smtpd_smtpd_token.ref", "util_midna_domain_test.in", "util_midna_domain_test.ref",
        "util_valid_hostname.in", "util_valid_hostname.ref")  # fmt: skip


def lines(name: str) -> list[str]:
    return (corpus("postfix-vectors") / name).read_text(encoding="utf-8").splitlines()


def test_every_file_is_read_or_has_a_reason_not_to_be() -> None:
    prefixes = tuple(word for words in NOT_OURS for word in words.split())
    left = [path.name for path in corpus("postfix-vectors").iterdir() if not path.name.startswith(prefixes)]
    assert sorted(left) == sorted(READ)


NUMERIC = "digits and dots: RFC 5321 §4.1.2 has it as a Domain; that it cannot be found is for the DNS to say"
#: Postfix takes them, we do not.
NO_HOST_NAMES = {"*.foo.bar": "a pattern of its access tables: RFC 5321 §4.1.2 has letters, digits and hyphens"}


def host_names() -> list[tuple[str, bool]]:
    """Name, and whether Postfix takes it."""
    found: list[tuple[str, bool]] = []
    for line in lines("util_valid_hostname.ref"):
        if tested := re.search('testing: "(.*)"$', line):
            found.append((tested[1], True))
        elif "warning: valid_hostname:" in line or "warning: valid_hostaddr" in line:
            found[-1] = (found[-1][0], False)
    return found


def test_host_names_are_judged_as_postfix_does() -> None:
    wrong, numeric = [], 0
    for name, theirs in host_names():
        ours = valid_domain(name.encode("latin-1"))
        if ours != theirs and re.fullmatch(r"[\d.]+", name) and ours:
            numeric += 1  # NUMERIC
        elif ours != theirs and name not in NO_HOST_NAMES:
            wrong.append((name, ours, theirs))
    assert numeric >= 3, NUMERIC
    assert wrong == []


#: Arguments of MAIL that we take. Postfix's tokenizer takes the others too, without brackets or with comments: RFC 5321
#: §4.1.1.2 has no reverse-path without brackets, and comments are for header fields.
GOOD_ARGUMENTS = {"mail from:<wietse@porcupine.org>", 'mail from:<"wietse venema"@porcupine.org>'}


def test_only_arguments_of_mail_that_rfc_5321_has_are_taken() -> None:
    commands = lines("smtpd_smtpd_token.in")
    for command in commands:
        session, handler = new_session()
        said = play(session, handler, [b"EHLO x\r\n", command.encode() + b"\r\n"])
        assert said.splitlines()[-1].startswith(b"250" if command in GOOD_ARGUMENTS else b"501"), command
    assert set(commands) >= GOOD_ARGUMENTS
    assert len(commands) >= 12


#: International domains that Postfix translates and we refuse, or the other way round.
DOTS = (
    "ideographic and fullwidth dots are for a user interface to translate (RFC 5895); in SMTP U-labels are valid or not"
)
A_LABEL = "an A-label whose digits mean nothing: syntax of RFC 5321; its look-up fails"
DOMAINS = {"x。example.com": DOTS, "x．example.com": DOTS, "x｡example.com": DOTS, "xn--123456.example.com": A_LABEL}


def test_international_domains_are_judged_as_postfix_does() -> None:
    text = "\n".join(lines("util_midna_domain_test.ref"))
    names = [line for line in lines("util_midna_domain_test.in") if not line.startswith("#")]
    for name in names:
        theirs = f'"{name}" ->ascii "(error)"' not in text
        ours = parse_path(f"<a@{name}>".encode(), True) is not None
        assert (ours != theirs) == (name in DOMAINS), name
    assert set(DOMAINS) <= set(names)


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("ü@example.com", True),
        ("a@bücher.example", True),
        ("用户@例子.公司", True),
        ('"ü ö"@x.example', True),
        ("a@xn--bcher-kva.example", True),
        ("a\uff20b@c.example", True),  # a fullwidth @ in a local part separates nothing
        ("a\uff20c.example", False),  # and is none
        ("a@b\u3002c", False),
        ("a\x80@x", False),
        ("a@[ü]", False),
        ("ü..b@x", False),
        ("ü" * 32 + "@x", True),
        ("ü" * 33 + "@x", False),  # 66 octets
    ],
)
def test_international_addresses_by_rfc_6531(address: str, good: bool) -> None:
    path = parse_path(f"<{address}>".encode(), True)
    assert (path is not None) == good
    if path is not None:
        assert path.mailbox == address
    if not address.isascii():
        assert parse_path(f"<{address}>".encode()) is None, "without SMTPUTF8"


@pytest.mark.parametrize("octets", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\xc3", b"\xe2\x82"])
def test_what_is_no_utf_8_is_no_address(octets: bytes) -> None:
    for path in (b"<a%b@x>", b"<a@b%b>", b'<"%b"@x>'):
        assert parse_path(path.replace(b"%b", octets), True) is None


def test_an_address_literal_of_the_corpus_is_judged_by_its_digits() -> None:
    for name, _ in host_names():
        octets = name.split(".")
        good = len(octets) == 4 and all(part.isdigit() and int(part) < 256 and len(part) < 4 for part in octets)
        assert valid_address_literal(f"[{name}]".encode("latin-1")) == good or ":" in name, name
