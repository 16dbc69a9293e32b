"""Sentences of the Calendar about links and syncs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from contracts.http.calendar import LARGEST_SERIES

LINKED: Final = "linked"
UPDATED_HERE: Final = "updated_here"
UNCHANGED: Final = "unchanged"
DIFFERS: Final = "differs"
MISSING: Final = "missing"
GONE: Final = "gone"
NOT_LINKED: Final = "not_linked"
REJECTED: Final = "rejected"
NOT_DONE: Final = "not_done"
LATER: Final = "later"
CHECKED: Final = "checked"

OUTCOMES: Final[Mapping[str, str]] = {
    LINKED: "It is in Planning Center again, so it was linked again and has what Planning Center shows.",
    UPDATED_HERE: "Title, dates, location and description are now those of Planning Center.",
    UNCHANGED: "It was already as in Planning Center.",
    DIFFERS: "What was put back here stays: the event differs from Planning Center until somebody syncs it by hand.",
    MISSING: "Planning Center does not show this event at the moment. We look again in a few minutes.",
    GONE: "It was deleted in Planning Center. The event stays here, without its link.",
    NOT_LINKED: "This event is not linked to Planning Center, so there was nothing to sync.",
    REJECTED: "Planning Center's answer about this event could not be read. Nothing was changed.",
    NOT_DONE: "The sync ended before this event. Nothing was changed; sync again to read it.",
    CHECKED: "Planning Center does not say which event this concerns, so all linked events were checked.",
    LATER: "Planning Center did not answer about this event. The next check reads it again.",
}

CHECKED_ALL_BUT_SOME: Final = (
    "Planning Center does not say which event this concerns, so all linked events were checked, except for some that "
    "could not be read. Each check tries those again."
)
NOT_CHECKED: Final = (
    "Planning Center does not say which event this concerns, and no check has shown it for certain since then. The "
    "next check that reads everything brings what has changed."
)
REFUSED: Final = (
    "Planning Center does not show this event to the person who connected it, though it shows others. Nothing was "
    "changed."
)
SOME_UNREAD: Final = (
    "Planning Center's answers about some linked events could not be read in the last check, so it was not complete. "
    "Nothing about these events was changed, and each check tries them again. Sync all linked events to see which they "
    "are."
)

STOPPED: Final = "Stopped safely. What was done stays. Sync again to read the other events."
LOOKS_AGAIN: Final = "Planning Center does not show it yet. We look again."
DISCONNECTED: Final = "Planning Center Calendar was disconnected, so nothing was synced. The links are kept."
ANOTHER_ORGANIZATION: Final = "Another Planning Center organization was connected, so nothing was synced."
ROLE_IS_GONE: Final = (
    "The person who connected Planning Center may no longer open Calendar there. Give them the Calendar role Viewer, "
    "or connect again as somebody who has it. Nothing was changed."
)
NOT_CONNECTED: Final = (
    "Planning Center Calendar is not connected, so nothing was done. Connect it under Integrations first."
)
AWAY: Final = "Planning Center does not answer at the moment, so nothing was done. Try again in a minute."
NOT_UNDERSTOOD: Final = (
    "Planning Center answered in a way we do not understand, so nothing was done. Try again; if it happens once more, "
    "tell the people who run this service."
)
NOT_THERE: Final = "Planning Center has no such event, or deleted it meanwhile. Search for it again."
MOVED: Final = (
    "The event changed here or in Planning Center since you saw what would be overwritten. Nothing was linked: look at "
    "it again, then confirm."
)
DATES_ARE_THEIRS: Final = (
    "The dates of this event come from Planning Center: change them in Planning Center, or unlink this event first."
)
FROM_FEED: Final = (
    "Planning Center has this event from the church's calendar feed. Change it here: Planning Center follows when it "
    "reads the feed again."
)
NO_DATE: Final = "Planning Center has no date for this event, so the dates here stay as they are."
UNREADABLE_DATES: Final = (
    "Planning Center has a date for this event that cannot be read, such as an end before the start. It was left out: "
    "look at it in Planning Center."
)
ONE_OF_A_SERIES: Final = (
    "This event repeats in Planning Center. Only this one date of it is linked: its other dates change nothing here."
)
MORE_THAN_A_LIST: Final = (
    f"Planning Center has more than {LARGEST_SERIES} dates for this event. The {LARGEST_SERIES} nearest to today are "
    "shown."
)

TEXTS_LEFT_OUT: Final = (
    "The titles and locations that single dates of this event have of their own are too long together: those of some "
    "later dates are left out here. Planning Center has them."
)
ZONE_UNKNOWN: Final = (
    "Planning Center names no time zone for your organization that is known here, so all-day events and series are "
    "read in UTC. Choose another time zone in Planning Center's organization settings, or tell the people who run this "
    "service."
)


def already_linked(title: str) -> str:
    """The answer to a link whose target another event has."""
    return f"This is already linked to “{title}”. Unlink that one first, or choose another."


def deleted_there(at: datetime) -> str:
    """The note of an event that is gone in Planning Center. `at`: in the church's zone."""
    return f"Deleted in Planning Center on {at:%B} {at.day}, {at.year}."


PUSHED: Final = "pushed"
HANDED_OFF: Final = "handed_off"
UNCLEAR: Final = "unclear"
TAKEN: Final = "taken"
SEVERAL_MATCH: Final = (
    "More than one event in Planning Center has this title and start, so none was linked by itself. Choose the right "
    "one under Link to an existing event."
)
BEING_CREATED: Final = (
    "This event is being created in Planning Center right now. Wait until that has ended; then it can be unlinked."
)
NOT_CREATED: Final = (
    "Planning Center refused this event or one of its dates, so it may be there in part. Look at it in Planning "
    "Center, then push again: what is there already is not created twice."
)
NOT_ANSWERED: Final = (
    "Planning Center did not answer, so this event may be there in part or not at all. Push it again later: what is "
    "there already is not created twice."
)
PUSH_STOPPED: Final = "The connection to Planning Center Calendar ended before this event was created. Push it again."
NOT_PUSHED: Final = "Nobody asked to have this event in Planning Center."
PUSH_ENDED: Final[Mapping[str, str]] = {
    PUSHED: "The event was created in Planning Center and linked.",
    HANDED_OFF: (
        "Planning Center does not let events be created from here. Create it there yourself, or let Planning Center "
        "read this church's calendar feed. It is linked by itself as soon as it is there."
    ),
    LINKED: "The event is linked to Planning Center.",
    UNCLEAR: SEVERAL_MATCH,
    TAKEN: (
        "The event was created in Planning Center, and linked to another event here meanwhile. Unlink that one, then "
        "push this one again."
    ),
    NOT_LINKED: "The event was deleted here meanwhile, so it was not created in Planning Center.",
}
