"""The events that a notice of Planning Center concerns here. Pure.

A notice is a hint to read an event again: its values are never used. Planning Center sends them about requests for
events; those about events and their dates do not exist yet (planningcenter/developers#1376).
"""

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
