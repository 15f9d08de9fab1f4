"""A short run of ``python -m tests.fuzz``, the same each time; and that it finds what is wrong."""

from random import Random

import pytest

from tests.fuzz import cores
from tests.fuzz.__main__ import Fuzzer
from tests.fuzz.cores import CORES

INPUTS = 150


@pytest.mark.parametrize("core", CORES)
def test_no_input_breaks_an_invariant(core: str) -> None:
    fuzzer = Fuzzer(core, 4)
    for _ in range(INPUTS):
        fuzzer.step()
    assert fuzzer.kept > 3


@pytest.mark.parametrize("core", ["smtp", "content", "path"])
def test_the_same_seed_tries_the_same(core: str) -> None:
    tried = []
    for _ in range(2):
        fuzzer = Fuzzer(core, 7)
        for _ in range(40):
            fuzzer.step()
        tried.append(fuzzer.last)
    assert tried[0] == tried[1]


def test_a_splitter_that_takes_lf_dot_lf_for_an_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = cores.split_content
    monkeypatch.setattr(cores, "split_content", lambda octets: right(octets.replace(b"\n.\n", b"\r\n.\r\n")))
    fuzzer = Fuzzer("content", 1)
    with pytest.raises(AssertionError, match="an end that is none"):
        for _ in range(2000):
            fuzzer.step()


def test_a_transcript_that_depends_on_segmentation_is_found() -> None:
    with pytest.raises(AssertionError, match="depends on how octets arrive"):
        cores.alike([len(pieces) for pieces in cores.pieces_of(b"abc", Random(1))])
