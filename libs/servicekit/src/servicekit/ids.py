"""Identifiers that sort by the time they were made."""

import os
import time
from datetime import datetime
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT_RFC_9562 = 0b10 << 62


def uuid7() -> UUID:
    """A UUID of version 7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    random_a, random_b = random >> 68, random & ((1 << 62) - 1)
    return UUID(int=(milliseconds & ((1 << 48) - 1)) << 80 | _VERSION_7 | random_a << 64 | _VARIANT_RFC_9562 | random_b)


def uuid7_at(moment: datetime) -> UUID:
    """The smallest id that `uuid7` makes at an instant; all earlier ids sort before it."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
