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
    "dns_ smtp_ no- nxdomain_ error. mxonly_ nullmx_ dnsbl_": "the DNS as Postfix's drivers print it; ours is tested with zones",
    "global_mime_": "contents: they go through unchanged, see interop/test_the_corpora_pass_unchanged.py",
    "global_fold_ global_mail_addr_crunch global_quote_ global_resolve_ global_rewrite_ global_tok822_ strip_addr": "RFC 822 "
    "addresses in headers, and rewriting: we rewrite nothing",
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
UNDERSCORE = "an underscore: not in RFC 5321, but in the DNS of mail"


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
        elif ours != theirs:
            wrong.append((name, ours, theirs))
    assert numeric >= 3, NUMERIC
    assert wrong == []
