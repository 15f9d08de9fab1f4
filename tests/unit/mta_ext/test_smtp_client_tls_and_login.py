"""STARTTLS and AUTH of the client session: what is said when, what is forgotten, and who is not believed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta.policy.sasl_client import choose
from mta.routing.destination import Login
from mta_ext.smtp_client import SmtpClientSession
from tests.harness.client_driver import Driver, Job, sevens, single_octets, whole
from tests.harness.scripted_remote import Answer, ScriptedRemote

SPLITS = pytest.mark.parametrize("split", [whole, single_octets, sevens])
TLS = ("PIPELINING", "STARTTLS")
MAIL = "MAIL FROM:<jones@athena.example>"


def login(*, secure: bool = True, password: str = "pencil"):
    return lambda offered: choose(offered, Login("user", password), "nonce", secure=secure)


def talk(remote: ScriptedRemote, split=whole, **options) -> Driver:
    driver = Driver([Job(1)], quit_when_done=True, options=options)
    driver.converse(remote, split)
    assert remote.violations == []
    return driver


@SPLITS
@pytest.mark.parametrize("mode", ["opportunistic", "required"])
def test_where_it_is_offered_mail_goes_under_tls_after_a_new_ehlo(split, mode: str) -> None:
    remote = ScriptedRemote(extensions=TLS, secured=("8BITMIME",))
    driver = talk(remote, split, starttls=mode)
    assert remote.commands[:4] == ["EHLO hermes.example", "STARTTLS", "EHLO hermes.example", MAIL]
    assert remote.reads[1] == ["STARTTLS"], "nothing may follow it"
    assert driver.session.secure
    assert driver.session.extensions == {"8BITMIME": ""}, "what was said in the clear is forgotten"
    assert [outcome[1] for outcome in driver.outcomes] == ["DOT"]


@pytest.mark.parametrize("remote", [ScriptedRemote(), ScriptedRemote({"STARTTLS": ["454 4.7.0 not now"]}, TLS)])
def test_opportunistic_goes_on_in_the_clear(remote: ScriptedRemote) -> None:
    driver = talk(remote, starttls="opportunistic")
    assert not driver.session.secure
    assert len(driver.outcomes) == 1


@pytest.mark.parametrize(
    ("remote", "reply"),
    [(ScriptedRemote(), None), (ScriptedRemote({"STARTTLS": ["454 4.7.0 not now"]}, TLS), "454 4.7.0 not now"),
     (ScriptedRemote({"EHLO": ["502 what"]}), None)],
)  # fmt: skip
def test_required_does_not(remote: ScriptedRemote, reply: str | None) -> None:
    driver = talk(remote, starttls="required")
    assert driver.trouble is not None
    assert driver.trouble[:2] == ("STARTTLS", reply)
    assert remote.commands[-1] == "QUIT"
    assert remote.received == []


@pytest.mark.parametrize("split", [whole, single_octets])
@pytest.mark.parametrize("behind", [b"250-remote.example\r\n", b"x", b"250 SIZE 1\r\n", b"\n"])
def test_what_comes_in_the_clear_behind_the_reply_to_starttls_is_an_attack(split, behind: bytes) -> None:
    driver = Driver([Job(1)], options={"starttls": "opportunistic"})
    driver.hear(b"220 hi\r\n250-x\r\n250 STARTTLS\r\n")
    assert driver.hear(b"220 go\r\n" + behind, split) == b""
    assert driver.trouble is not None
    assert driver.trouble[0] == "STARTTLS"
    assert "in the clear" in driver.trouble[2]
    assert driver.session.closing
    assert not driver.session.wants_tls


def test_the_end_of_a_connection_in_the_middle_of_a_handshake_is_told_once() -> None:
    driver = Driver(options={"starttls": "required"})
    driver.hear(b"220 hi\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n")
    assert driver.session.wants_tls
    assert driver.session.stage == "STARTTLS"
    driver.session.eof()
    driver.session.eof()
    assert driver.trouble is not None
    with pytest.raises(RuntimeError):
        driver.session.tls_started()


def test_quit_in_the_middle_of_a_handshake_closes() -> None:
    driver = Driver(options={"starttls": "required"})
    driver.hear(b"220 hi\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n")
    driver.session.quit()
    assert driver.session.closing


def test_implicit_tls_asks_for_none() -> None:
    remote = ScriptedRemote(extensions=TLS)
    driver = talk(remote, starttls="opportunistic", secure=True)
    assert "STARTTLS" not in remote.commands
    assert len(driver.outcomes) == 1


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="opportunistic"):
        SmtpClientSession(Driver(), "hermes.example", starttls="always")


# AUTH.


@SPLITS
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_a_login_comes_before_the_first_message(split, mechanism: str) -> None:
    remote = ScriptedRemote(extensions=("PIPELINING", f"AUTH {mechanism}"), people={"user": "pencil"})
    driver = talk(remote, split, login=login())
    assert remote.logins == ["user"]
    assert remote.commands[1].split()[:2] == ["AUTH", mechanism]
    assert [outcome[1] for outcome in driver.outcomes] == ["DOT"]


def test_after_starttls_the_new_offer_counts() -> None:
    remote = ScriptedRemote(extensions=TLS, secured=("AUTH PLAIN",), people={"user": "pencil"})
    talk(remote, login=login(), starttls="required")
    assert [command.split()[0] for command in remote.commands[:4]] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]
    assert remote.logins == ["user"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_trouble_of_the_host(mechanism: str) -> None:
    remote = ScriptedRemote(extensions=(f"AUTH {mechanism}",), people={"user": "other"})
    driver = talk(remote, login=login())
    assert driver.trouble is not None
    assert driver.trouble[:2] == ("AUTH", "535 5.7.8 no")
    assert remote.received == []


@pytest.mark.parametrize("offered", [(), ("AUTH GSSAPI",), ("AUTH",)])
def test_without_a_mechanism_that_may_be_used_there_is_no_mail(offered) -> None:
    driver = talk(ScriptedRemote(extensions=offered), login=login())
    assert driver.trouble is not None
    assert driver.trouble[0] == "AUTH"


def test_in_the_clear_no_password_is_shown() -> None:
    remote = ScriptedRemote(extensions=("AUTH PLAIN LOGIN",), people={"user": "pencil"})
    assert talk(remote, login=login(secure=False)).trouble is not None
    assert not any(command.startswith("AUTH") for command in remote.commands)


@pytest.mark.parametrize("said", ["334 %%%", "334 AA", "334 cj0=", "334"])
def test_a_challenge_that_is_none_ends_the_session(said: str) -> None:
    remote = ScriptedRemote({"CHALLENGE": [said]}, ("AUTH SCRAM-SHA-256",), people={"user": "pencil"})
    driver = talk(remote, login=login())
    assert driver.trouble is not None
    assert driver.trouble[0] == "AUTH"
    assert driver.writes[-1] == b"*\r\n"


def test_a_server_that_lets_us_in_without_a_proof_is_not_believed() -> None:
    remote = ScriptedRemote({"CHALLENGE": [Answer(b"235 2.7.0 come in\r\n")]}, ("AUTH SCRAM-SHA-256",))
    driver = Driver([Job(1)], options={"login": login()})
    driver.hear(remote.connected())
    driver.hear(b"250-x\r\n250 AUTH SCRAM-SHA-256\r\n235 2.7.0 come in\r\n")
    assert driver.trouble is not None
    assert "proof" in driver.trouble[2]


LINES = st.sampled_from(["220 go", "250 ok", "334 ", "334 VXNlcm5hbWU6", "334 %", "235 2.7.0 in", "454 4.7.0 later",
                         "535 5.7.8 no", "421 bye", "nonsense", "250-x\r\n250 y", "354 go"])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.lists(LINES, max_size=4), st.lists(LINES, max_size=4), st.lists(LINES, max_size=4),
    st.sampled_from(["none", "opportunistic", "required"]), st.sampled_from(["PLAIN", "LOGIN", "SCRAM-SHA-256"]),
    st.integers(1, 9),
)  # fmt: skip
def test_segmentation_changes_nothing_and_each_delivery_ends_once(tls, challenges, auth, mode, mechanism, step) -> None:
    def run(split) -> Driver:
        extensions = ("PIPELINING", "STARTTLS", f"AUTH {mechanism}")
        script = {"STARTTLS": tls, "CHALLENGE": challenges, "AUTH": auth}
        remote = ScriptedRemote(script, extensions, people={"user": "pencil"})
        driver = Driver([Job(1), Job(2)], True, {"starttls": mode, "login": login()})
        driver.converse(remote, split)
        driver.session.eof()
        return driver

    driver = run(whole)
    again = run(lambda octets: [octets[n : n + step] for n in range(0, len(octets), step)])
    assert again.events == driver.events
    listed = [token for token, _ in driver.trouble[3]] if driver.trouble else []
    assert sorted([outcome[0] for outcome in driver.outcomes] + listed) == sorted(driver.given)
