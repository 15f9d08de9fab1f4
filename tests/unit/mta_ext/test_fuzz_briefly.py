"""A short run of ``python -m tests.fuzz``, the same each time; and that it finds what is wrong."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import clients, cores, servers
from tests.fuzz.__main__ import Fuzzer
from tests.fuzz.cores import CORES
from tests.fuzz.seeds import WORDS, seeds

INPUTS = 150
#: Words, whole seeds and noise; hypothesis finds the shortest that breaks something.
SOUP = {
    core: st.lists(
        st.one_of(st.sampled_from(WORDS), st.sampled_from(seeds(core)), st.binary(max_size=6)), max_size=8
    ).map(b"".join)
    for core in CORES
}


def run(fuzzer: Fuzzer, inputs: int) -> Fuzzer:
    for _ in range(inputs):
        fuzzer.step()
    return fuzzer


@pytest.mark.parametrize("core", CORES)
def test_no_input_breaks_an_invariant(core: str) -> None:
    assert run(Fuzzer(core, 4), INPUTS).kept > 3


@pytest.mark.parametrize("core", CORES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_soup_of_seeds_breaks_an_invariant(core: str, data: st.DataObject) -> None:
    octets = data.draw(SOUP[core])
    CORES[core](octets, Random(octets))


@pytest.mark.parametrize("core", ["smtp", "content", "path"])
def test_the_same_seed_tries_the_same(core: str) -> None:
    assert run(Fuzzer(core, 7), 40).last == run(Fuzzer(core, 7), 40).last


def test_a_splitter_that_takes_lf_dot_lf_for_an_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = cores.split_content
    monkeypatch.setattr(cores, "split_content", lambda octets: right(octets.replace(b"\n.\n", b"\r\n.\r\n")))
    fuzzer = Fuzzer("content", 1)
    with pytest.raises(AssertionError):
        run(fuzzer, 2000)
    assert b"\n.\n" in fuzzer.last


def test_a_transcript_that_depends_on_segmentation_is_found() -> None:
    with pytest.raises(AssertionError, match="depends on how octets arrive"):
        cores.alike([len(pieces) for pieces in cores.pieces_of(b"abc", Random(1))])


@pytest.mark.parametrize(
    ("core", "module", "name", "wrong", "complaint"),
    [
        ("smtp", servers, "count_ends", lambda _: -9, "more messages"),
        ("submission", servers, "_on_purpose", lambda _: False, "PolicyBroke"),
        ("submission", servers, "SECURED", frozenset({"hello"}), "a login in the clear"),
        ("client", clients, "_CHUNK", clients.re.compile(rb"no (chunk)"), "goes out|before its end"),
        ("smarthost", clients, "_CLEAR_VERBS", frozenset(), "before TLS"),
        ("pop3", servers, "assert_no_bare_line_end", lambda said: servers.alike([b"-ERR" in said, False]), "depends"),
    ],
)
def test_what_a_core_must_not_do_is_found(core, module, name, wrong, complaint, monkeypatch) -> None:
    """The invariant turned against what is right: inputs reach the place that it watches."""
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError, match=complaint):
        run(Fuzzer(core, 1), 3000)
