"""The clocks: milliseconds for what is written down, a steady one for durations, a date as mail writes it."""

from email.utils import parsedate_to_datetime

from mta.clock import SystemClock, rfc5322_date


def test_a_date_is_in_utc_and_reads_back():
    assert rfc5322_date(1_795_484_322_999) == "Tue, 24 Nov 2026 01:38:42 +0000"
    assert parsedate_to_datetime(rfc5322_date(1_795_484_322_000)).timestamp() == 1_795_484_322


def test_the_systems_clocks_move_forward():
    clock = SystemClock()
    wall, steady = clock.now_ms(), clock.monotonic()
    assert wall > 1_700_000_000_000
    assert clock.monotonic() >= steady
