"""The time left of a run."""

from synckit.progress import Ahead, Pace, eta, of_whole


def test_the_time_left_is_a_range_within_the_allowed_rate() -> None:
    pace = Pace(limit=100, period_seconds=20)
    assert eta(0, requests_done=0, elapsed_seconds=0, pace=None) == (0, 0)
    assert eta(10, requests_done=0, elapsed_seconds=0, pace=None) is None
    assert eta(500, requests_done=0, elapsed_seconds=0, pace=pace) == (100, 200)
    # A burst at the start does not count: never faster than the vendor allows.
    assert eta(500, requests_done=100, elapsed_seconds=1, pace=pace) == (100, 100)
    assert eta(500, requests_done=20, elapsed_seconds=10, pace=pace) == (200, 334)
    low, high = eta(500, requests_done=20, elapsed_seconds=10, pace=Pace(100, 20, wait_seconds=15)) or (0, 0)
    assert (low, high) == (215, 349)


def test_a_limit_moved_down_shows_at_once() -> None:
    before = eta(500, requests_done=50, elapsed_seconds=10, pace=Pace(100, 20))
    after = eta(500, requests_done=50, elapsed_seconds=10, pace=Pace(10, 20))
    assert before is not None
    assert after is not None
    assert after[0] >= 10 * before[0]


def test_the_time_left_is_that_of_the_whole_run() -> None:
    ahead = Ahead(seconds=(9.5, 114.5), requests=400)
    assert of_whole((0, 1), ahead, Pace(100, 20)) == (0 + 9 + 80, 1 + 115 + 160)
    assert of_whole((10, 20), Ahead(), None) == (10, 20)
    assert of_whole((10, 20), ahead, None) is None
    assert of_whole(None, ahead, Pace(100, 20)) is None
    # The time of the reading includes its waits.
    assert of_whole((10, 20), Ahead(requests=100), Pace(100, 20, wait_seconds=15)) == (30, 60)
