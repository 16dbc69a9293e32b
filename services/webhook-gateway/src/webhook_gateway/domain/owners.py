"""Sentences for a caller while an owner does not answer: cause, unchanged data, advice."""

from dataclasses import dataclass

from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, CONFLICT_SERVICE, PEOPLE_SYNC

PARTS = {
    AUTH_SERVICE: "Connections to Planning Center",
    PEOPLE_SYNC: "Members and families",
    CONFLICT_SERVICE: "Conflicts",
    CALENDAR_SYNC: "Events",
}
RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Absence:
    """How an owner failed to answer."""

    owner: str
    reads: bool
    """The call only reads."""
    reached: bool
    """The owner may have received the request."""
    slow: bool = False
    safe: bool = False
    """A repeat is harmless."""


def sentence(absence: Absence) -> str:
    """The problem's detail. It never claims that a change of unknown outcome was lost or made."""
    part = PARTS[absence.owner]
    again = "Try again in a few seconds."
    if absence.reads:
        took = "take too long to answer" if absence.slow else "can't be read right now"
        return f"{part} {took}. Nothing was lost. {again}"
    if not absence.reached:
        return f"{part} can't be changed right now. Nothing was changed. {again}"
    unknown = f"{part} did not answer in time. Your change may or may not have been made."
    if absence.safe:
        return f"{unknown} Sending it again is safe: it is not made twice."
    return f"{unknown} Look at it again before you repeat it."
