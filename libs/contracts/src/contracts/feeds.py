"""Addresses of private iCal feeds: the gateway's public path, and the owner's route behind it."""

from hashlib import sha256
from typing import Final

FEEDS: Final = "/calendar/feeds"
"""Path of all feeds at the public port."""
FEED_BY_KEY: Final = "/internal/calendar/feeds/{key}"
"""calendar-sync's route for webhook-gateway; `key` in hexadecimal digits."""


def feed_key(name: str) -> bytes:
    """The key by which a feed is found: 32 bytes. name: the last part of its path, which is secret.

    The gateway makes it from whatever is asked for, so the secret itself goes no further.
    """
    return sha256(name.encode()).digest()
