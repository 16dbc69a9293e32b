"""The sliding window, with a clock of our own."""

import pytest

from pco_simulator.pacing import Pacer
from pco_simulator.settings import Settings

PERSON = ("1", "2")


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("pco_simulator.pacing.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_window_slides_request_by_request(clock: Clock) -> None:
    pacer = Pacer(Settings(rate_limit=2, rate_period_seconds=20))
    pacer.count(PERSON, 0)
    clock.now += 5
    pacer.count(PERSON, 0)
    clock.now += 5
    refused = pacer.count(PERSON, 0)
    assert (refused.count, refused.retry_after) == (3, 15)
    clock.now += 15
    assert pacer.count(PERSON, 0).retry_after is None


def test_retry_after_is_exact_though_refused_calls_count(clock: Clock) -> None:
    pacer = Pacer(Settings(rate_limit=3, rate_period_seconds=20))
    retry_after = None
    for _ in range(10):
        retry_after = pacer.count(PERSON, 0).retry_after
        clock.now += 0.5
    assert retry_after is not None
    clock.now += retry_after - 0.5 - 1.1
    assert pacer.count(PERSON, 0).retry_after is not None
    pacer.reset()
    for _ in range(10):
        retry_after = pacer.count(PERSON, 0).retry_after
    assert retry_after == 20
    clock.now += 20
    assert pacer.count(PERSON, 0).count == 1


def test_people_do_not_share_windows_and_zero_is_no_limit(clock: Clock) -> None:
    settings = Settings(rate_limit=1)
    pacer = Pacer(settings)
    assert pacer.count(PERSON, 0).retry_after is None
    assert pacer.count(("1", "3"), 0).retry_after is None
    assert pacer.count(PERSON, 0).retry_after == 20
    settings.rate_limit = 0
    assert pacer.count(PERSON, 50_000).retry_after is None


def test_deep_offsets_are_judged_by_their_own_limit(clock: Clock) -> None:
    pacer = Pacer(Settings(deep_offset_limit=2))
    pacer.count(PERSON, 0)
    assert pacer.count(PERSON, 30_001).limit == 2
    assert pacer.count(PERSON, 30_001).retry_after == 20
    assert pacer.count(PERSON, 30_000).limit == 100
