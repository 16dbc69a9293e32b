"""The events that a notice of Planning Center concerns here. Pure.

A notice is a hint to read an event again: its values are never used. Planning Center sends them about requests for
events; those about events and their dates do not exist yet (planningcenter/developers#1376).
"""

from dataclasses import dataclass
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

NOT_CONNECTED: Final = (
    "Planning Center Calendar is not connected, so nothing was read. The check after the next connection reads what "
    "has changed."
)
EARLIER_CONNECTION: Final = (
    "It came for an earlier connection, so nothing was read. The check that began with the present connection reads "
    "what has changed."
)
LATER_CONNECTION: Final = (
    "It came while the new connection was still being set up, so it was not read by itself. The check that begins with "
    "the new connection reads what has changed."
)
NOTHING_HERE: Final = "Nothing here depends on records of this kind."
NO_ID: Final = "Its record has no number that Planning Center gives, so there is nothing to read."


@dataclass(frozen=True, slots=True)
class Known:
    """The connection as this service knows it."""

    state: str
    generation: int


def why_ignored(fact: WebhookReceived, connection: Known | None) -> str | None:
    """The sentence about a notice that needs no read, None for all others.

    A notice of a later generation overtook the fact about its connection: with that fact a check begins, later than
    the change.
    """
    if connection is not None and fact.generation > connection.generation:
        return LATER_CONNECTION
    if connection is None or connection.state in {"closing", "disconnected"}:
        return NOT_CONNECTED
    if fact.generation < connection.generation:
        return EARLIER_CONNECTION
    if fact.resource_type not in KINDS:
        return NOTHING_HERE
    number = fact.resource_id
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        return NO_ID
    return None


def pco_id_of(fact: WebhookReceived) -> str:
    """Such as `event:17`."""
    return f"{KINDS[fact.resource_type]}:{fact.resource_id}"
