"""The events that a notice of Planning Center concerns here. Pure.

A notice is a hint to read an event again: its values are never used. Planning Center sends them about requests for
events; those about events and their dates do not exist yet (planningcenter/developers#1376).
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from calendar_sync.domain.sentences import (
    DIFFERS,
    GONE,
    LINKED,
    MISSING,
    NOT_DONE,
    NOT_LINKED,
    PUSHED,
    REJECTED,
    UPDATED_HERE,
)
from contracts.events.webhooks_delivery_v1 import WebhookReceived
from synckit import notices
from synckit.notices import NO_ID, NOTHING_HERE, Known, Reader

OUTCOMES: Final = {
    **dict.fromkeys((LINKED, UPDATED_HERE, GONE, PUSHED), notices.CHANGED),
    **dict.fromkeys((NOT_LINKED, NOT_DONE), notices.IGNORED),
    DIFFERS: notices.UNCHANGED,
    MISSING: notices.LATER,
    REJECTED: notices.FAILED,
}
"""Outcome of a notice, by outcome of the refresh; the same word for any other."""
KINDS: Final = {"Event": "event", "EventInstance": "instance", "EventRequest": "request"}
"""Planning Center's types, with the kind of id in a refresh."""
SHOWN: Final = frozenset({"Event", "EventInstance"})
"""Types whose state a read of the event shows."""

_PATIENCE: Final = timedelta(minutes=10)
"""How long a notice waits for a check that shows it for certain. The next one reads what has changed anyway."""

CHECKS: Final = Reader("Planning Center Calendar", "check")


def why_ignored(fact: WebhookReceived, connection: Known | None) -> str | None:
    """The sentence about a notice that needs no read, None for all others."""
    if sentence := CHECKS.why_not(fact.generation, connection):
        return sentence
    if fact.resource_type not in KINDS:
        return NOTHING_HERE
    number = fact.resource_id
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        return NO_ID
    return None


def pco_id_of(fact: WebhookReceived) -> str:
    """Such as `event:17`."""
    return f"{KINDS[fact.resource_type]}:{fact.resource_id}"


class Checked(StrEnum):
    """What a notice that only a check answers waits for."""

    ANSWERED = "answered"
    """A check shows it."""
    TIME = "time"
    """A check has looked already, but too early to be sure."""
    CHECK = "check"
    """A check is to be made."""
    GIVEN_UP = "given_up"
    """For too long no check came to its end."""


def checked(told_at: datetime, checked_from: datetime | None, horizon: timedelta, now: datetime) -> Checked:
    """Where a notice stands. `checked_from`: when the last check began that came to its end.

    A check is made at once, since most reads show the change by then, and again once reads cannot stay behind it.
    """
    certain = told_at + horizon
    if checked_from is not None and checked_from >= certain:
        return Checked.ANSWERED
    if now >= certain + _PATIENCE:
        return Checked.GIVEN_UP
    if now < certain and checked_from is not None and checked_from > told_at:
        return Checked.TIME
    return Checked.CHECK
