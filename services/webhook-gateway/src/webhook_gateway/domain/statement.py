"""The state of a connection's subscriptions as an administrator reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from contracts.http.subscriptions import StatementState, SubscriptionState
from contracts.values import CALENDAR, PEOPLE

TITLES: Final = {PEOPLE: "People", CALENDAR: "Calendar"}
UNTIL_THEN: Final = {
    PEOPLE: "Until then changes come with the regular sync.",
    CALENDAR: "Until then changes come with the regular check.",
}
_AT_ONCE: Final = {
    PEOPLE: "Changes come at once",
    # It has no messages about events themselves, or not all (planningcenter/developers#1376).
    CALENDAR: "What Planning Center tells about events comes at once",
}
_BESIDES: Final = {PEOPLE: "", CALENDAR: " Linked events are also checked regularly."}


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a connection."""

    product: str
    connection: str | None
    """Its state; None if it was never connected."""
    names: Sequence[tuple[SubscriptionState, str | None]]
    """State and refusal of each wanted subscription."""
    verified_at: datetime | None
    open_gap: bool


def state_of(known: Known, every: timedelta, now: datetime) -> tuple[StatementState, str]:
    """The state, and a sentence. every: the interval of verifications."""
    title, until = TITLES[known.product], UNTIL_THEN[known.product]
    at_once, besides = _AT_ONCE[known.product], _BESIDES[known.product]
    if known.connection == "reconnect_required":
        return "waiting", f"Reconnect {title}: Planning Center no longer accepts the consent."
    if known.connection != "connected":
        return "off", f"{title} is not connected."
    if known.verified_at is None:
        return "waiting", f"Planning Center is being asked to tell us about changes at once. {until}"
    active = sum(state == "active" for state, _ in known.names)
    refusals = list(dict.fromkeys(refusal for state, refusal in known.names if refusal and state != "active"))
    if not active:
        return "off", " ".join(refusals) or f"Planning Center does not tell us about changes at once yet. {until}"
    if active < len(known.names):
        missing = len(known.names) - active
        some = f"{at_once}, except for {missing} of {len(known.names)} kinds of change.{besides}"
        return "partly", " ".join([some, *refusals])
    if now - known.verified_at > 2 * every:
        return "partly", (
            "Planning Center could not be asked lately whether it still tells every change at once. It is asked again "
            "soon, and what was missed is then read again."
        )
    if known.open_gap:
        return (
            "partly",
            f"{at_once}. Some earlier messages may be missing, so what changed then is read again.{besides}",
        )
    return "live", f"{at_once}.{besides}"
