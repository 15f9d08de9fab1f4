"""A short run of ``python -m tests.fuzz``, the same each time; and that it finds what is wrong."""

from random import Random

import pytest

from tests.fuzz import cores
from tests.fuzz.__main__ import Fuzzer
from tests.fuzz.cores import CORES

INPUTS = 150


def run(fuzzer: Fuzzer, inputs: int) -> Fuzzer:
    for _ in range(inputs):
        fuzzer.step()
    return fuzzer


@pytest.mark.parametrize("core", CORES)
def test_no_input_breaks_an_invariant(core: str) -> None:
    assert run(Fuzzer(core, 4), INPUTS).kept > 3


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
