"""The instants at which a church's linked events are checked. Pure."""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final

_BEGAN: Final = datetime(2020, 1, 1, tzinfo=UTC)


def next_check(organization_id: str, interval: timedelta, now: datetime) -> datetime:
    """The first instant after `now` of a church's own series, `interval` apart.

    Churches lie spread over the interval, and however long an outage was, one check follows it.
    """
    phase = int.from_bytes(blake2b(organization_id.encode(), digest_size=4).digest(), "big") / 2**32 * interval
    return now + interval - (now - _BEGAN - phase) % interval
