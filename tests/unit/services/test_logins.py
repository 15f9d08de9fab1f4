"""Logins, with real argon2 and a directory on disk: who gets in, what it costs, and whom failures slow down."""

import asyncio
import statistics
from pathlib import Path

import pytest
import scramp

from mta.clock import SystemClock
from mta.config import parse
from mta.directory.passwords import make_credentials
from mta.directory.protocol import DirectoryUnreadable
from mta.directory.tables import directory_path
from mta.directory.writer import DirectoryWriter
from mta.policy.sasl import Challenge
from mta.services import checks, login
from mta.services.checks import CLIENT_LIMIT, Login
from mta.services.login import Logins
from tests.harness.directory import SMALL, fill_directory

MARK = "mark@minasi.example"
PASSWORD = "correct horse"
RIGHT = Login("ok", 1, MARK)
WRONG = Login("wrong")
HOME, AWAY = "192.0.2.1", "198.51.100.7"


class Seconds(SystemClock):
    """The machine's clock, which the test can set forward."""

    ahead = 0.0

    def monotonic(self):
        return super().monotonic() + self.ahead


class Place:
    """A directory, and Logins over it."""

    def __init__(self, path: Path, toml: str = "", people=(MARK,)):
        self.writer = DirectoryWriter(directory_path(path), **SMALL)
        fill_directory(self.writer, dict.fromkeys(people, PASSWORD) | {"no@minasi.example": None})
        self.clock = Seconds()
        text = toml if "[local]" in toml else f'[local]\ndomains = ["minasi.example"]\n{toml}'
        self.logins = Logins(self.writer.reading, parse(text), self.clock)

    def begin(self, user, password=PASSWORD, client=HOME):
        answer = asyncio.get_running_loop().create_future()
        return self.logins.check(user, password, client, answer.set_result), answer

    async def ask(self, user, password=PASSWORD, client=HOME):
        return await self.begin(user, password, client)[1]

    async def seconds(self, *args, **options):
        """(the answer, how long it took)"""
        since = self.clock.monotonic()
        answer = await self.ask(*args, **options)
        return answer, self.clock.monotonic() - since

    async def sasl(self, mechanism, *responses, client=HOME):
        """The last thing said."""
        exchange = self.logins.exchange(mechanism, client)
        answer = asyncio.get_running_loop().create_future()
        for response in responses:
            step = exchange.step(response, answer.set_result)
            if not isinstance(step, Challenge):
                return await answer
        return step


@pytest.fixture
async def place(tmp_path):
    made = []

    def make(toml="", **options):
        made.append(Place(tmp_path / str(len(made)), toml, **options))
        return made[-1]

    yield make
    for one in made:
        one.logins.stop()
        one.writer.close()
    await asyncio.sleep(0)


async def test_a_name_may_have_its_domain_in_either_spelling(place):
    logins = place()
    assert await logins.ask("mark@\uff4dinasi.example") == RIGHT
    assert await logins.ask("nobody@\uff4dinasi.example") == WRONG


async def test_the_right_password_gets_in_under_every_name(place):
    logins = place()
    logins.writer.change(lambda changes: changes.set_person(1, further=["m@other.example"]))
    for user in (MARK, "MARK@Minasi.Example", "mark", "m@other.example"):
        assert await logins.ask(user) == RIGHT
    assert logins.logins.counts["ok"] == 4


async def test_everything_else_is_wrong_in_the_same_way(place):
    logins = place("[login]\nfailures = 0")
    for user, password in (
        (MARK, "incorrect horse"),
        ("nobody", PASSWORD),
        ("no@minasi.example", PASSWORD),
        ("mark+tag", PASSWORD),
        ("", PASSWORD),
        (MARK, ""),
        ("x" * 400, PASSWORD),
        ("\ud800", PASSWORD),
        (MARK, "\ud800"),
    ):
        assert await logins.ask(user, password) == WRONG


@pytest.mark.parametrize("domains", ["[]", '["minasi.example", "other.example"]'])
async def test_a_bare_name_is_nobodys_unless_there_is_one_domain(place, domains):
    logins = place(f"[local]\ndomains = {domains}")
    assert await logins.ask("mark") == WRONG
    assert await logins.ask(MARK) == RIGHT


async def test_the_answer_never_comes_inside_the_call(place):
    logins = place()
    for _ in range(2):
        _, answer = logins.begin(MARK)
        assert not answer.done()
        await answer


async def test_a_right_password_is_remembered_and_then_costs_little(place, monkeypatch):
    logins = place()
    assert await logins.ask(MARK) == RIGHT
    monkeypatch.setattr(login, "verify", lambda *args: pytest.fail("computed again"))
    assert await logins.ask(MARK) == RIGHT
    assert await logins.ask("mark", client=AWAY) == RIGHT


async def test_what_is_remembered_is_forgotten_after_its_time(place):
    logins = place('[login]\nremember = "60s"')
    await logins.ask(MARK)
    logins.writer.change(lambda changes: None)
    assert len(logins.logins._remembered._until) == 1
    logins.clock.ahead += 61
    assert not logins.logins._remembered.has(logins.begin(MARK)[0], logins.clock.monotonic())


async def test_nothing_is_remembered_when_nothing_is_to_be(place):
    logins = place('[login]\nremember = "0s"')
    await logins.ask(MARK)
    assert logins.logins._remembered._until == {}


async def test_what_is_remembered_has_a_bound(place, monkeypatch):
    monkeypatch.setattr(checks, "REMEMBERED_LIMIT", 1)
    logins = place(people=(MARK, "ann@minasi.example"))
    await logins.ask(MARK)
    await logins.ask("ann")
    assert len(logins.logins._remembered._until) == 1


async def test_a_changed_password_and_a_removed_person_are_out_at_once(place):
    logins = place("[login]\nfailures = 0")
    assert await logins.ask(MARK) == RIGHT
    new = make_credentials("battery staple")
    logins.writer.change(lambda changes: changes.set_credentials(1, new))
    assert await logins.ask(MARK) == WRONG
    assert await logins.ask(MARK, "battery staple") == RIGHT
    logins.writer.change(lambda changes: changes.remove_person(1))
    assert await logins.ask(MARK, "battery staple") == WRONG


async def test_a_password_that_was_changed_while_the_check_ran_is_wrong(place):
    logins = place()
    _, answer = logins.begin(MARK)
    new = make_credentials("battery staple")
    logins.writer.change(lambda changes: changes.set_credentials(1, new))
    assert await answer == WRONG


async def test_a_directory_that_cannot_be_read_is_unavailable_never_wrong(place, monkeypatch):
    logins = place()

    def unreadable(*args):
        raise DirectoryUnreadable("gone")

    _, answer = logins.begin(MARK)
    monkeypatch.setattr(logins.writer.reading, "find", unreadable)
    monkeypatch.setattr(logins.writer.reading, "credentials", unreadable)
    assert await answer == Login("unavailable")
    assert await logins.ask(MARK) == Login("unavailable")
    assert await logins.sasl("PLAIN", b"\0mark\0" + PASSWORD.encode()) == Login("unavailable")
    assert await logins.sasl("SCRAM-SHA-256", b"n,,n=mark,r=abc") == Login("unavailable")


async def test_an_unknown_name_takes_as_long_as_a_wrong_password(place):
    logins = place("[login]\nfailures = 0")
    times = {MARK: [], "nobody": [], "no@minasi.example": []}
    for _ in range(12):
        for user, taken in times.items():
            answer, seconds = await logins.seconds(user, "incorrect horse")
            assert answer == WRONG
            taken.append(seconds)
    for one in times.values():
        for other in times.values():
            assert min(one) < statistics.median(other)
            assert min(one) > 0.4 * min(other)


async def test_who_fails_often_gets_late_answers_and_nobody_else_does(place):
    logins = place('[login]\nfailures = "3/min"')
    for _ in range(3):
        assert await logins.ask(MARK, "wrong") == WRONG
    assert logins.logins._failures.delay(HOME, logins.clock.monotonic()) < 1e-9
    assert await logins.ask(MARK, "wrong") == WRONG
    answer, seconds = await logins.seconds(MARK)
    assert (answer, seconds > 0.8) == (RIGHT, True)
    answer, seconds = await logins.seconds(MARK, client=AWAY)
    assert (answer, seconds < 0.5) == (RIGHT, True)


async def test_one_client_waits_in_so_many_checks_and_others_have_room(place, monkeypatch):
    logins = place()
    answers = [logins.begin(MARK, f"wrong {n}")[1] for n in range(CLIENT_LIMIT + 3)]
    assert [await answer for answer in answers[CLIENT_LIMIT:]] == [Login("busy")] * 3
    assert await logins.ask(MARK, client=AWAY) == RIGHT
    assert not all(answer.done() for answer in answers)
    assert {await answer for answer in answers[:CLIENT_LIMIT]} == {WRONG}
    monkeypatch.setattr(checks, "WAITING_LIMIT", 0)
    assert await logins.ask(MARK, "x", client=AWAY) == Login("busy")


async def test_clients_take_turns(place):
    logins = place("[login]\nchecks = 1")
    order = []
    answers = []
    for client in (HOME, AWAY):
        for n in range(3):
            _, answer = logins.begin(MARK, f"wrong {n}", client)
            answer.add_done_callback(lambda _, client=client: order.append(client))
            answers.append(answer)
    await asyncio.gather(*answers)
    assert order in ([HOME, HOME, AWAY, HOME, AWAY, AWAY], [HOME, AWAY, HOME, AWAY, HOME, AWAY])


async def test_a_check_that_nobody_awaits_is_not_computed(place, monkeypatch):
    logins = place("[login]\nchecks = 1")
    computed = []
    monkeypatch.setattr(login, "verify", lambda credentials, password: computed.append(password) or False)
    first, _ = logins.begin(MARK, "a")
    second, unanswered = logins.begin(MARK, "b")
    second.cancel()
    assert await logins.ask(MARK, "c") == WRONG
    assert computed == ["a", "c"]
    assert not unanswered.done()
    first.cancel()
    assert logins.logins._turns._present == {}


async def test_stopping_answers_everybody(place):
    logins = place('[login]\nchecks = 1\nfailures = "1/min"')
    logins.logins._failures.record(AWAY, logins.clock.monotonic())
    logins.logins._failures.record(AWAY, logins.clock.monotonic())
    answers = [logins.begin(MARK, f"wrong {n}")[1] for n in range(4)] + [logins.begin(MARK, client=AWAY)[1]]
    logins.logins.stop()
    assert [await answer for answer in answers] == [Login("unavailable")] * 5
    assert await logins.ask(MARK) == Login("unavailable")


async def test_a_check_that_breaks_is_unavailable(place, monkeypatch):
    def broken(*args):
        raise MemoryError

    logins = place()
    monkeypatch.setattr(login, "verify", broken)
    assert await logins.ask(MARK) == Login("unavailable")


async def test_sasl_plain_and_login(place):
    logins = place("[login]\nfailures = 0")
    assert await logins.sasl("PLAIN", None) == Challenge(b"")
    assert await logins.sasl("PLAIN", b"\0mark\0" + PASSWORD.encode()) == RIGHT
    assert await logins.sasl("LOGIN", None, b"mark", PASSWORD.encode()) == RIGHT
    assert await logins.sasl("PLAIN", b"\0mark\0wrong") == WRONG
    assert await logins.sasl("PLAIN", b"nonsense") == WRONG
    assert logins.logins.exchange("CRAM-MD5", HOME) is None


async def scram(logins, user, password, client=HOME):
    them = scramp.ScramClient(["SCRAM-SHA-256"], user, password)
    answer = asyncio.get_running_loop().create_future()
    exchange = logins.logins.exchange("SCRAM-SHA-256", client)
    challenge = exchange.step(them.get_client_first().encode(), answer.set_result).octets.decode()
    them.set_server_first(challenge)
    last = exchange.step(them.get_client_final().encode(), answer.set_result)
    if isinstance(last, Challenge):
        them.set_server_final(last.octets.decode())
        exchange.step(b"", answer.set_result)
    return challenge.partition(",")[2], await answer


async def test_sasl_scram(place):
    logins = place("[login]\nfailures = 0")
    assert (await scram(logins, "mark", PASSWORD))[1] == RIGHT
    assert (await scram(logins, "mark", "wrong"))[1] == WRONG
    one, answer = await scram(logins, "nobody", PASSWORD)
    assert answer == WRONG
    other, _ = await scram(logins, "NOBODY@minasi.example", PASSWORD)
    real, _ = await scram(logins, "mark", PASSWORD)
    assert one == other
    assert one != real
    assert len(one) == len(real)
    assert one.partition(",i=")[2] == real.partition(",i=")[2]


async def test_failed_scram_exchanges_count_as_wrong_passwords(place):
    logins = place('[login]\nfailures = "1/min"')
    assert (await scram(logins, "mark", "wrong"))[1] == WRONG
    since = logins.clock.monotonic()
    assert (await scram(logins, "mark", "wrong"))[1] == WRONG
    assert logins.clock.monotonic() - since > 0.8
    assert await logins.ask(MARK, client=AWAY) == RIGHT


async def test_ten_wrong_passwords_a_second_slow_down_that_address_alone(place):
    """The bar: a valid login from elsewhere takes less than twice its usual time meanwhile. In rounds, because other
    programs of the machine come and go as well."""
    ratios = []
    for _ in range(3):
        logins = place('[login]\nremember = "0s"')
        usual = [(await logins.seconds(MARK, client=AWAY))[1] for _ in range(12)]
        attack = Attack(logins)
        meanwhile = [(await logins.seconds(MARK, client=AWAY))[1] for _ in range(30)]
        attack.end()
        assert len(attack.answers) >= 6
        assert {answer.result() for answer in attack.answers if answer.done()} == {WRONG}
        logins.logins.stop()
        ratios.append(statistics.median(meanwhile) / statistics.median(usual))
    assert statistics.median(ratios) < 2, ratios


async def test_even_a_flood_of_wrong_passwords_slows_down_that_address_alone(place):
    """All that one address may have under way, without a pause: the other thread stays for others."""
    logins = place('[login]\nremember = "0s"')
    await logins.ask(MARK, "wrong")  # from now on it is suspect
    flood = [logins.begin(MARK, f"wrong {n}")[1] for n in range(CLIENT_LIMIT)]
    for _ in range(3):
        assert await logins.ask(MARK, client=AWAY) == RIGHT
    assert sum(answer.done() for answer in flood) < 12
    logins.logins.stop()


class Attack:
    """Ten wrong passwords a second from one address, whatever becomes of them."""

    def __init__(self, logins):
        self._logins = logins
        self.answers = []
        self._strike()

    def _strike(self):
        self.answers.append(self._logins.begin(MARK, f"wrong {len(self.answers)}")[1])
        self._timer = asyncio.get_running_loop().call_later(0.1, self._strike)

    def end(self):
        self._timer.cancel()


async def test_a_proof_counts_only_while_the_directory_can_say_whose_it_is(place, monkeypatch):
    logins = place()

    def unreadable(*args):
        raise DirectoryUnreadable("gone")

    def proved():
        answer = asyncio.get_running_loop().create_future()
        logins.logins.proved("mark", HOME, answer.set_result)
        return answer

    assert await proved() == RIGHT
    logins.writer.change(lambda changes: changes.remove_person(1))
    assert await proved() == WRONG
    monkeypatch.setattr(logins.writer.reading, "find", unreadable)
    assert await proved() == Login("unavailable")


async def test_exchanges_that_fail_have_a_bound_too(place):
    logins = place('[login]\nfailures = "1/min"')
    answers = [asyncio.ensure_future(logins.sasl("SCRAM-SHA-256", b"nonsense")) for _ in range(CLIENT_LIMIT + 3)]
    await asyncio.sleep(0)
    late = answers[-1]
    assert await late == Login("busy")
    logins.logins.stop()
    assert {answer.status for answer in await asyncio.gather(*answers)} <= {"busy", "wrong", "unavailable"}
