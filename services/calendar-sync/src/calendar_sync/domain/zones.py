"""Time zones: local times and instants."""

from datetime import UTC, date, datetime, time
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

_OF_THE_MACHINE: Final = {"Factory", "localtime"}


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones() - _OF_THE_MACHINE)


def is_zone(name: str) -> bool:
    """Whether it is the IANA name of a zone."""
    return name in _names()


def instant(local: datetime, zone: str) -> datetime:
    """The instant (UTC) at which clocks in a zone show a naive local time.

    A time that clocks skip is read with the offset before the gap, one that they show twice is the first of the two
    (RFC 5545, 3.3.5): the meaning of PEP 495's `fold=0`.
    """
    return local.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)


def local_time(at: datetime, zone: str) -> datetime:
    """The naive local time that clocks in a zone show at an instant."""
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def midnight(day: date, zone: str) -> datetime:
    """The instant (UTC) at which a day begins in a zone."""
    return instant(datetime.combine(day, time()), zone)
