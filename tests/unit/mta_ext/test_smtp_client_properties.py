"""Invariants: whatever a remote says and however it is cut, the same is heard; each delivery has exactly one end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.client_driver import Driver, Job
from tests.harness.scripted_remote import DROP, Answer, ScriptedRemote

LINES = st.sampled_from(
    ["250 ok", "250-a\r\n250 b", "354 go", "451 4.3.0 later", "550 5.1.1 no", "421 bye", "221 x", "503 step",
     "nonsense", "250", "999 x", "250-x\r\n550 y", "", "25", "354", "250 ok\r\n250 ok", "x" * 300]
)  # fmt: skip
ANSWERS = st.one_of(LINES, st.just(DROP), LINES.map(lambda line: Answer(line.encode() + b"\r\n", drop=True)))
LIKELY = st.one_of(st.just("250 2.1.0 fine"), st.just("550 5.0.0 no"), ANSWERS)
VERBS = ["CONNECT", "EHLO", "HELO", "LHLO", "RSET", "QUIT"]
SCRIPTS = st.fixed_dictionaries(
    {
        "MAIL": st.lists(LIKELY, max_size=3),
        "RCPT": st.lists(LIKELY, max_size=6),
        "DATA": st.lists(st.one_of(st.just("354 go"), st.just("554 no"), ANSWERS), max_size=3),
        "DOT": st.lists(LIKELY, max_size=4),
        "BDAT": st.lists(LIKELY, max_size=4),
    },
    optional={verb: st.lists(ANSWERS, max_size=1) for verb in VERBS},
)
CONTENTS = st.sampled_from([b"", b"x\r\n", b".x", b"y" * 70_000, b".\r\n" * 30_000])
JOBS = st.lists(
    st.builds(
        lambda content, people, streamed: (content, people, streamed),
        CONTENTS,
        st.lists(st.sampled_from(["a@x.example", "b@x.example"]), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=4,
)


def make_jobs(plans, binary: bool = False) -> list[Job]:
    jobs = []
    for token, (content, people, streamed) in enumerate(plans):
        given_content = (lambda octets=content: iter([octets[:5], octets[5:]])) if streamed else content
        more = {"binary": True} if binary and token % 2 == 0 else {}
        jobs.append(Job(token, people, given_content, size=len(content), more=more))
    return jobs


class Careful(Driver):
    """As a shell does it: what is binary goes as such only where that is offered."""

    def deliver(self, job: Job) -> None:
        if not {"CHUNKING", "BINARYMIME"} <= self.session.extensions.keys():
            job.more.pop("binary", None)
        super().deliver(job)


def ends(driver: Driver) -> list[object]:
    """Every token with an outcome, or listed in trouble."""
    listed = [token for token, _ in driver.trouble[3]] if driver.trouble else []
    return [outcome[0] for outcome in driver.outcomes] + listed


@settings(max_examples=300, deadline=None)
@given(SCRIPTS, JOBS, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 9))
def test_each_delivery_ends_once_and_segmentation_changes_nothing(
    script, plans, pipelining, lmtp, quitting, chunks, step
) -> None:
    def run(split) -> tuple[Driver, ScriptedRemote]:
        driver = Careful(make_jobs(plans, chunks), quitting, {"lmtp": lmtp, "reply_line": 256, "reply_lines": 10})
        offered = (*["PIPELINING"] * pipelining, *["CHUNKING", "BINARYMIME"] * chunks)
        remote = ScriptedRemote(script, offered, lmtp=lmtp)
        driver.converse(remote, split)
        driver.session.eof()
        return driver, remote

    driver, remote = run(lambda octets: [octets])
    again, _ = run(lambda octets: [octets[n : n + step] for n in range(0, len(octets), step)])
    assert again.events == driver.events
    assert again.writes == driver.writes

    assert sorted(ends(driver)) == sorted(driver.given)
    assert not [line for line in remote.violations if "bare" in line]
    for _, stage, reply, recipients in driver.outcomes:
        assert stage in {"MAIL", "RCPT", "DATA", "DOT"}
        assert stage != "DOT" or not reply.startswith("3")
        assert recipients is None or len(recipients) > 0
    uncertain = [token for token, unsure in driver.trouble[3] if unsure] if driver.trouble else []
    assert len(uncertain) <= 1
    delivered = [outcome for outcome in driver.outcomes if outcome[1] == "DOT"]
    ends_put_out = driver.wire.split(b"\r\n").count(b".") + driver.wire.count(b" LAST\r\n")
    assert len(delivered) + len(uncertain) <= ends_put_out


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(LINES.map(lambda line: line.encode() + b"\r\n"), st.binary(max_size=20)), max_size=30),
       st.booleans(), st.integers(0, 3), st.data())  # fmt: skip
def test_blind_octets_never_raise_and_end_in_trouble_or_go_on(said, lmtp, count, data) -> None:
    script = b"220 hi\r\n250-x\r\n250 PIPELINING\r\n" + b"".join(said)
    cut = data.draw(st.integers(0, len(script)))

    def run(pieces) -> Driver:
        driver = Driver([Job(n) for n in range(count)], options={"lmtp": lmtp, "reply_line": 64})
        for piece in pieces:
            driver.session.feed(piece)
        return driver

    driver = run([script])
    again = run([script[:cut], script[cut:]])
    one = run([script[n : n + 1] for n in range(len(script))])
    assert driver.events == again.events == one.events
    assert driver.take() == again.take() == one.take()
    driver.session.timed_out()
    assert sorted(ends(driver)) == sorted(driver.given)
    # No content was ever put out, so no reply can have been one to its end.
    assert all(stage != "DOT" for _, stage, *_ in driver.outcomes)
