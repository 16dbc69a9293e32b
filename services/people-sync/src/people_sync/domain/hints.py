"""The records that a notice of Planning Center concerns here. Pure.

A notice is a hint to read a record again: its values are never used.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import (
    CONFLICT,
    CONVERGED,
    CREATED_HERE,
    CREATED_THERE,
    GONE,
    INACTIVATED_THERE,
    KEPT_OUT,
    LEFT_OUT,
    LINKED,
    MADE_INACTIVE,
    MERGED,
    NOT_DONE,
    REJECTED,
    RESTORED,
    TAKEN_BACK,
    UNDONE,
    UPDATED_BOTH,
    UPDATED_HERE,
    UPDATED_THERE,
)
from synckit import notices
from synckit.notices import NO_ID, NOTHING_HERE, Reader

OUTCOMES: Final = {
    **dict.fromkeys((CREATED_HERE, UPDATED_HERE, UPDATED_BOTH, LINKED, GONE, MERGED, CONVERGED), notices.CHANGED),
    **dict.fromkeys((CREATED_THERE, UPDATED_THERE, INACTIVATED_THERE, MADE_INACTIVE), notices.CHANGED),
    **dict.fromkeys((UNDONE, TAKEN_BACK, RESTORED), notices.CHANGED),
    **dict.fromkeys((KEPT_OUT, LEFT_OUT, NOT_DONE), notices.IGNORED),
    REJECTED: notices.FAILED,
    CONFLICT: notices.CONFLICT,
}
"""Outcome of a notice, by outcome of the refresh; `unchanged`, `held` and `later` are the same words."""

PERSON: Final = "Person"
HOUSEHOLD: Final = "Household"
MERGER: Final = "PersonMerger"
CONTACTS: Final = {"Email": "email", "PhoneNumber": "phone", "Address": "address"}
"""Planning Center's types, with our field of each contact (keys of `Link.contacts`)."""

RESOURCES: Final = frozenset({PERSON, HOUSEHOLD, *CONTACTS})
"""Types whose state a read of the record shows."""

SYNCS: Final = Reader("Planning Center People", "sync")
FIRST_SYNC_READS: Final = (
    "Nobody is synced yet: the first sync reads everybody, and what changes meanwhile is read right after it."
)
WHOSE: Final = "It does not say whose contact this was, and the contact is not known here. The next sync finds it."
ERASED: Final = "This person was erased here, and no sync brings them back."


@dataclass(frozen=True, slots=True)
class Known(notices.Known):
    """The connection as this service knows it."""

    mirrored: bool
    """Whether everybody was synced once."""


@dataclass(frozen=True, slots=True)
class Concerned:
    """A record to read again."""

    kind: str
    pco_id: str


def why_ignored(fact: WebhookReceived, connection: Known | None) -> str | None:
    """The sentence about a notice that needs no read, None for all others."""
    if sentence := SYNCS.why_not(fact.generation, connection):
        return sentence
    return FIRST_SYNC_READS if connection is not None and not connection.mirrored else None


def tells_of_an_end(fact: WebhookReceived) -> bool:
    """Whether a record is no more: deleted there, or merged into another."""
    return fact.resource_type == MERGER or fact.name.endswith(".destroyed")


def concerned(fact: WebhookReceived, owners: Collection[str] = ()) -> tuple[Concerned, ...] | str:
    """The records to read again, or the sentence that says why there are none.

    `owners`: people whose contact it is, if the notice itself does not name one.
    """
    if fact.resource_type == PERSON:
        people: tuple[str | None, ...] = (fact.resource_id,)
    elif fact.resource_type == MERGER:
        people = (fact.person_id, fact.merged_person_id)
    elif fact.resource_type in CONTACTS:
        people = (fact.person_id,) if fact.person_id else tuple(sorted(owners))
        if not people:
            return WHOSE
    elif fact.resource_type == HOUSEHOLD:
        return (Concerned(FAMILY, fact.resource_id),) if _is_id(fact.resource_id) else NO_ID
    else:
        return NOTHING_HERE
    found = tuple(Concerned(MEMBER, one) for one in people if one and _is_id(one))
    return found or NO_ID


def _is_id(pco_id: str) -> bool:
    """As `people_sync.planning_center.is_id`: no request is made for another form."""
    return pco_id.isascii() and pco_id.isdigit() and len(pco_id) <= 18
