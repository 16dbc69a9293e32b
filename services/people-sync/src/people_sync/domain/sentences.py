"""Sentences of a run about its records, in plain words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

CREATED_HERE: Final = "created_here"
CREATED_THERE: Final = "created_there"
UPDATED_HERE: Final = "updated_here"
UPDATED_THERE: Final = "updated_there"
UPDATED_BOTH: Final = "updated_both"
LINKED: Final = "linked"
UNCHANGED: Final = "unchanged"
CONFLICT: Final = "conflict"
HELD: Final = "held"
GONE: Final = "gone"
MERGED: Final = "merged"
REJECTED: Final = "rejected"
LATER: Final = "later"
INACTIVATED_THERE: Final = "inactivated_there"
CONVERGED: Final = "converged"
NOT_DONE: Final = "not_done"
KEPT_OUT: Final = "kept_out"
LEFT_OUT: Final = "left_out"
UNDONE: Final = "undone"
TAKEN_BACK: Final = "taken_back"
RESTORED: Final = "restored"
MADE_INACTIVE: Final = "made_inactive"

KEPT_DIFFERENT: Final = "kept_different"
WAITS_FOR_YOU: Final = "waits_for_you"
WAITS_FOR_SYNC: Final = "waits_for_sync"
REFUSED: Final = "refused"
NOT_READ: Final = "not_read"
ONE_SIDE: Final = "one_side"
UNEXPLAINED: Final = "unexplained"
"""Reasons why a record's sides differ, found by a read-only comparison."""

PUT_BACK_IN_CONFLICT: Final = (
    "Put back here. Planning Center was edited since the last sync, so its values stay there: decide in Conflicts."
)

OUTCOMES: Final[dict[str, str]] = {
    CREATED_HERE: "Added here from Planning Center.",
    CREATED_THERE: "Added in Planning Center.",
    UPDATED_HERE: "Changed here, as in Planning Center.",
    UPDATED_THERE: "Changed in Planning Center, as here.",
    UPDATED_BOTH: "Changed on both sides: what was edited here went there, and what was edited there came here.",
    LINKED: "Found on both sides and linked; the values were already equal.",
    UNCHANGED: "Equal on both sides.",
    CONFLICT: "The two sides have different values. Fields in conflict stay as they are on both until you decide.",
    CONVERGED: "A conflict closed by itself: the edits no longer contradict each other.",
    HELD: "May be somebody who is already here. Nothing was changed: please decide in Held matches.",
    GONE: "No longer in Planning Center. Kept here, and not created there again unless an administrator asks.",
    MERGED: "Merged with another person in Planning Center; the link follows to the one who was kept.",
    REJECTED: "Planning Center refused this record. It is tried again with the next sync.",
    NOT_DONE: "The sync ended before this record was done; the next sync goes on with it.",
    LATER: "Planning Center did not show the newest state yet. The next sync goes on with this record.",
    INACTIVATED_THERE: "Deleted here, so made inactive in Planning Center, as the settings say.",
    WAITS_FOR_YOU: "May be somebody who is in Planning Center already. Please answer in Held matches.",
    ONE_SIDE: "Here only: gone in Planning Center, or never added there.",
    KEPT_OUT: "Kept out of the sync, so left as it is on both sides.",
    LEFT_OUT: "This has changed since the plan was shown, so it was left as it is. The next sync compares it again.",
    UNDONE: "The former values are back, here and in Planning Center.",
    TAKEN_BACK: "Deleted here: the sync had added it, and nobody has edited it since. In Planning Center it stays.",
    RESTORED: "Here again.",
    MADE_INACTIVE: "Made inactive in Planning Center, where the sync had added them. Here they stay active.",
}
"""Default sentence for one record, by outcome."""

PLANNED: Final[dict[str, str]] = {
    CREATED_HERE: "To be added here, from Planning Center.",
    CREATED_THERE: "To be added in Planning Center.",
    UPDATED_HERE: "To be changed here, as in Planning Center.",
    UPDATED_THERE: "To be changed in Planning Center, as here.",
    UPDATED_BOTH: "To be changed on both sides.",
    LINKED: "Found on both sides, and to be linked.",
    CONFLICT: "Both sides have changed. The fields in conflict stay as they are until you decide.",
    CONVERGED: "Its conflict is to be closed: the edits no longer contradict each other.",
    HELD: "May be somebody who is already here. To be asked in Held matches; nothing is changed.",
    GONE: "No longer in Planning Center. To be kept here, without the link.",
    INACTIVATED_THERE: "Deleted here. To be made inactive in Planning Center, as the settings say.",
    UNDONE: "Former values are to be put back.",
    TAKEN_BACK: "To be deleted here, since nobody has edited it after the sync added it. In Planning Center it stays.",
    RESTORED: "To be here again.",
}
"""Default sentence for one record of a plan, by outcome."""
ERASED_MEANWHILE: Final = "This person was erased here since, so nothing more was done."
LEFT_OUT_HALFWAY: Final = (
    "This changed while the plan was being carried out. What was taken over here stays; Planning Center was "
    "left as it is. The next sync compares it again."
)

_AND_THERE: Final = {
    UPDATED_HERE: UPDATED_BOTH,
    **{kept: kept for kept in (UPDATED_BOTH, CREATED_HERE, CREATED_THERE, CONFLICT, UNDONE)},
}
_AND_HERE: Final = {kept: kept for kept in (CREATED_HERE, CREATED_THERE, CONFLICT, UNDONE)}
_AND_NOT_THERE: Final = {UPDATED_BOTH: UPDATED_HERE, UPDATED_THERE: UNCHANGED}
_DONE_HERE: Final = {UPDATED_BOTH: UPDATED_HERE, **{kept: kept for kept in (CREATED_HERE, LINKED)}}


def not_sent(field: str) -> str:
    """The sentence that a field was not sent, because Planning Center's value says at least as much."""
    name = FIELD_NAMES.get(field, field.replace("_", " "))
    return f"Planning Center's {name} says the same as ours or more, so it was left as it is."


def updated(*, ours: bool, theirs: bool, otherwise: str) -> str:
    """The outcome of a record by its changing sides."""
    return UPDATED_BOTH if ours and theirs else UPDATED_THERE if theirs else UPDATED_HERE if ours else otherwise


def together(before: str, now: str) -> str:
    """The outcome of a record from the part done before the push (or a process's death) and by the push."""
    if now == UPDATED_THERE:
        return _AND_THERE.get(before, now)
    if now == UPDATED_HERE:
        return _AND_HERE.get(before, now)
    if now == UNCHANGED:
        return _AND_NOT_THERE.get(before, before)
    if now == UPDATED_BOTH and before == UNDONE:
        return before
    return now


def kept_out_halfway(before: str, *, done_here: bool) -> tuple[str, str]:
    """Outcome and sentence of a record that was kept out of the sync before its push."""
    outcome = _DONE_HERE.get(before, KEPT_OUT) if done_here else KEPT_OUT
    return outcome, " ".join(OUTCOMES[one] for one in dict.fromkeys((outcome, KEPT_OUT)))


def left_of_an_undo(sentence: str) -> list[str]:
    """The sentence of a record that was put back, without its first part: the values that stay."""
    left = sentence.removeprefix(OUTCOMES[UNDONE]).strip()
    return [left] if left else []


def merged_here(one: str, other: str) -> str:
    """The sentence about two members whose people were merged in Planning Center."""
    return (
        f"{one} was merged with {other} in Planning Center. Both stay here, and {other} is linked to the person there. "
        "Say in Held matches whether they are one person: then join them here, or keep two."
    )


def kept_two(one: str, other: str) -> str:
    """The sentence about such members whom an administrator declared to be two people."""
    return (
        f"{one} was merged with {other} in Planning Center, and an administrator said that they are two people: {one} "
        "is only here. Choose Create again in Planning Center on their page to have them there too."
    )


def one_again(second: str, first: str) -> str:
    """The sentence about a person added here before the log of mergers named their counterpart."""
    return (
        f"{second} was added here before Planning Center's list of merged people showed that this is {first}: "
        f"{first} has the link again, and the second record is deleted here."
    )


def never_there(kind: str, pco_id: str) -> str:
    """The sentence that Planning Center has no record with a supplied number. `kind`: `member` or `family`."""
    somebody, instead = "household", ""
    if kind == "member":
        somebody = "person"
        instead = ", or choose Create again in Planning Center on their page, if they are not there"
    return (
        f"The platform gave this {kind} the number {pco_id}, and no {somebody} in Planning Center has it: the two are "
        f"not linked, and nothing was created there. Correct the number on the platform and send it again{instead}."
    )


def may_be_ours(name: str, sent: str) -> str:
    """The sentence about a person with our marker of an unanswered creation and a part of the name."""
    return (
        f"{name} has the number that we gave to {sent} in the field Remote ID, and we do not know whether {sent} was "
        "added to Planning Center. Nothing was decided. If the two are one person, enter the name there as it is here; "
        "if not, empty that field there."
    )


def doubled_person(name: str, pco_id: str) -> str:
    """The sentence about a person that a late request of ours duplicated."""
    return (
        f"{name} was made twice in Planning Center, because a server of ours stood still. The second one (number "
        f"{pco_id}) is inactive there now: merge the two in Planning Center."
    )


def doubled_family(name: str, pco_id: str) -> str:
    """The sentence about a household that a late request of ours duplicated."""
    return (
        f"The household {name} was made twice in Planning Center, because a server of ours stood still. The second one "
        f"(number {pco_id}) is empty there now: delete it in Planning Center."
    )


def doubled_contact(field: str) -> str:
    """The sentence about a contact that a late request of ours duplicated."""
    name = FIELD_NAMES["home" if field == "address" else field]
    return (
        f"The {name} was there twice in Planning Center, because a server of ours stood still; one of the two was "
        "deleted."
    )


DOUBLED_MEMBERSHIP: Final = (
    "Somebody was in the household twice in Planning Center, because a server of ours stood still; the second entry "
    "was removed."
)
NOT_TAKEN_BACK: Final = (
    "Something was made twice in Planning Center, because a server of ours stood still, and we are not allowed to "
    "remove it. Open the record in Planning Center and remove the second one."
)


def and_more(count: int) -> str:
    """The sentence about unnamed candidates of a held match."""
    return f"And {count} more members here who may be this person." if count > 1 else "And one more member here."


def may_be_kept_out(names: Iterable[str]) -> str:
    """Why a person in Planning Center is left alone: the members of these names are kept out of the sync."""
    return (
        f"May be {' or '.join(names)}, who is kept out of the sync, so nothing was added, linked or asked. "
        "Sync them again to have the two compared."
    )


MAY_BE_LEFT_ALONE: Final = (
    "Somebody in Planning Center may be this person, and may also be somebody who is kept out of the sync, so nothing "
    "was created there. Sync the other one again, or leave both as they are."
)
ONLY_KEPT_OUT: Final = (
    "Everybody of this family is kept out of the sync, so the family was not added in Planning Center."
)
KEPT_OUT_MEANWHILE: Final = (
    "The record was kept out of the sync before the decision was carried out, so nothing more of it is applied."
)
INACTIVE_HERE: Final = "Inactive here, so not added in Planning Center."
STATUS_KEPT: Final = (
    "Active on one side and inactive on the other: each stays so, since our values count on a first match."
)
FOUND_THERE: Final = (
    "Planning Center has a household of these people already. The family is linked to it now, and the next sync "
    "compares the two."
)
NOBODY_THERE_YET: Final = (
    "Nobody of this family is in Planning Center yet, so neither is the family: it follows with its first member."
)
WAITS_FOR_ANSWER: Final = (
    "May be somebody who is already in Planning Center, so nothing was created there: please decide in Held matches."
)
"""The sentence about a record postponed until the church answers, not Planning Center."""

FIELD_NAMES: Final[dict[str, str]] = {
    "first_name": "first name",
    "last_name": "last name",
    "birthdate": "birthdate",
    "gender": "gender",
    "child": "child or adult",
    "email": "email",
    "address": "email",
    "home": "address",
    "phone": "phone number",
    "number": "phone number",
    "street_line_1": "street",
    "street_line_2": "street",
    "city": "city",
    "state": "state",
    "zip": "postal code",
    "country_code": "country",
    "name": "family name",
    "people": "family members",
    "primary_contact": "primary contact",
    "primary_contact_id": "primary contact",
    "remote_id": "remote id",
}
"""Display names of our fields and Planning Center's parameters, where `address` is an e-mail's attribute."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One entry of a vendor's error answer."""

    parameter: str | None
    title: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why Planning Center refused a record."""

    cause: str
    """Groups records refused for the same reason, so it holds no value of a record."""
    sentence: str


def not_for_us(record: str, *, hidden: bool) -> Rejection:
    """The reason for a 403 on one `person` or `household` (planningcenter/developers#1139).

    `hidden`: a read was refused, not a write.
    """
    if hidden:
        return Rejection(
            f"hidden-{record}",
            f"Planning Center does not show this {record} to the person who connected it, so nothing was changed. Ask "
            "one of its organization administrators to connect Planning Center themselves; the next sync tries again.",
        )
    return Rejection(
        f"not-for-us-{record}",
        f"Planning Center lets only its organization administrators edit this {record}. Ask one of them to make the "
        "change there, or to connect Planning Center themselves; the next sync tries again.",
    )


def rejection(refusals: Iterable[Refusal], *, about: str | None = None) -> Rejection:
    """The first refusal in words. `about`: our field (`email`, `phone`, `address`) of the sent contact, if any."""
    first = next(iter(refusals), None)
    if first is None:
        return Rejection("unknown", "Planning Center refused this record without saying why.")
    parameter = (first.parameter or "").rsplit("/", 1)[-1] or about or ""
    # An e-mail's own attribute is called `address` too.
    name = "home" if about == "address" == parameter else parameter
    name = FIELD_NAMES.get(name, name.replace("_", " "))
    what = f"the {name}" if name else "this record"
    detail = _without_values((first.detail or first.title or "is not acceptable").strip().rstrip("."))
    cause = f"{about or parameter or 'record'}:{re.sub(r'[^a-z0-9]+', '-', detail.casefold()).strip('-')}"
    if _WITHOUT_SUBJECT.match(detail):
        detail = f"it {detail}"
    advice = _ADVICE.get(first.title or "", "Correct it here; the next sync tries again.")
    return Rejection(cause, f"Planning Center refused {what}: {detail}. {advice}")


_WITHOUT_SUBJECT: Final = re.compile(r"(?:is|are|was|has|have|must|can|cannot|does|doesn't|should|may|needs)\b")
"""A vendor's reason that continues the field's name: `is invalid`, `can't be blank`."""

_ADVICE: Final = {
    "Forbidden Attribute": "Change it in Planning Center: it does not let the person who connected it do so from here.",
    "Duplicate Record": "Somebody wrote the same at the same moment; the next sync tries again.",
}
"""Remedies by the refusal's title; the default is to correct the value."""


def _without_values(detail: str) -> str:
    """The detail without quoted values: with a value in the cause, each value would be a group of its own."""
    return re.sub(r"\"[^\"]*\"|'[^']*'(?![a-z])|\S+@\S+", "the value sent", detail)


_ANSWERS: Final = {
    "planning_center": "Planning Center's value",
    "ask": "Ask me",
    "ours": "Keep ours",
    "approve": "Make these changes",
    "continue": "Make these changes",
    "undo": "Undo these changes",
    "stop": "Stop",
    "same": "Same person",
    "different": "Different people",
    "later": "Later",
}


def answered_before(by_name: str | None, answer: str) -> str:
    """The sentence after a lost race: the faster person and their answer. `by_name`: None if not stored."""
    return f"{by_name or 'Somebody else'} has answered this: {_ANSWERS.get(answer, answer)}. That answer stays."


def waiting_for_mergers(seconds: float) -> str:
    """The sentence while a missing person may have been merged. `seconds`: the maximum age of a read."""
    most = f"{round(seconds / 60)} minutes" if seconds >= 120 else f"{round(seconds)} s"
    return (
        "Somebody is not in Planning Center any more, and may have been merged with somebody else there. Planning "
        f"Center can show that up to {most} late: the sync waits that long, then goes on by itself."
    )


WAITING_FOR_FIRST_MATCH: Final = (
    "Waiting for an administrator to say which details to keep where the two sides differ. Nothing was written."
)
WAITING_FOR_THRESHOLD: Final = (
    "Waiting for an administrator: this sync would change more records than the limit in the settings. "
    "Nothing was written."
)
WAITING_FOR_APPROVAL: Final = "Waiting for an administrator to approve the plan. Nothing was written."
PLAN_DISCARDED: Final = "The plan was discarded. Nothing was written, here or in Planning Center."
PLAN_EXPIRED: Final = (
    "Nobody approved the plan within 24 hours, so it has ended. Nothing was written. Choose Preview to make a new one."
)
WAITING_FOR_UNDO: Final = "Waiting for an administrator to approve what would be put back. Nothing was written."
ADDED_THERE: Final = (
    "Added in Planning Center by the sync. Nobody is deleted there: this person is made inactive there if you ask for "
    "that, and stays as they are if not."
)
NOT_INACTIVATED: Final = "Added in Planning Center by the sync, and left there as they are."
BACK_HERE: Final = "The former values are back here."
PUT_BACK_HERE: Final = "The former values are back here. The next sync sends them to Planning Center."
NOT_PUT_BACK: Final = "The undo ended before it reached this record, which stays as it was."
NOTHING_LEFT: Final = "Nothing was put back: everything was edited since, or cannot be put back. The list says why."
UNDO_STOPPED: Final = "Stopped safely. What was put back stays; everything else is as it was."
UNDO_EXPIRED: Final = (
    "Nobody approved this within a day, so nothing was put back. Undo again to see what would be put back now."
)
NEITHER_THERE_NOR_HERE: Final = "Neither in Planning Center nor here, so there is nothing to do."
OTHERS_SYNCED: Final = "The other fields that differed were synced."
"""Added for a record in conflict of which other fields were written."""
OTHERS_TAKEN: Final = "Planning Center took everything else that was sent."
"""Ends a refusal if Planning Center accepted another part of the same record."""
UNDECIDED: Final = (
    "Left as it is on both sides: this sync could not tell yet which record on the other side is the same. The next "
    "sync tries again."
)


def may_be_unread(name: str, sentence: str) -> str:
    """Why a member is not created in Planning Center: `name` there may be the same person but cannot be read.

    `sentence` gives the cause and the remedy.
    """
    return f"{name or 'Somebody'} in Planning Center may be this person, so nothing was created there. {sentence}"


VALUES_MOVED: Final = "A value changed before the decision could be carried out, so nothing of it was applied."
MOVED_HALFWAY: Final = (
    "A value changed while the decision was being carried out. What was taken over here stays; the rest is open again."
)
NOT_IN_HOUSEHOLD: Final = (
    "The primary contact here is not in the family in Planning Center, so nothing of the decision was applied."
)
LOOKS_AGAIN: Final = (
    "Planning Center does not show the newest state yet. Nothing was overwritten; we will read this record again."
)
ROLE_IS_GONE: Final = (
    "Planning Center refused this to the person who connected it: they need the role Editor in People. "
    "What was done stays. Give them the role in Planning Center, then sync again."
)
UNREADABLE: Final = (
    "Planning Center answered in a way that we do not understand. Nothing was changed; tell the people who run this "
    "service if it happens again."
)
FIRST_SYNC_ASKS: Final = (
    "Both sides have different values, and nobody has chosen yet which of them to keep. Nothing was overwritten: the "
    "next sync of everybody asks."
)
ANOTHER_ORGANIZATION: Final = (
    "Not done: another Planning Center organization was connected. Its first sync brings everybody up to date."
)
DISCONNECTED: Final = (
    "Not done: Planning Center was disconnected. Connect it again and sync; nothing that was typed here is lost."
)
JOINED_MEANWHILE: Final = "{} was joined to {} here, so it is no longer synced on its own."
DELETED_MEANWHILE: Final = "Deleted here while the sync was running. Nothing was overwritten."
WAITING_FOR_READS: Final = "Waiting until Planning Center shows what was written, before anything else is decided."
