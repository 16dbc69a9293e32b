"""The receipt of an erasure: one line per place, each a sentence for a church's administrator."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from contracts.values import CONFLICT_SERVICE, PEOPLE_SYNC

Outcome = Literal["done", "not_needed", "pending", "left", "kept"]

VALUES: Final = "values"
FAMILIES: Final = "families"
HISTORY: Final = "history"
MIRROR: Final = "mirror"
LINKS: Final = "links"
HELD: Final = "held_matches"
CONFLICTS: Final = "conflicts"
SYNCS: Final = "syncs"
MENTIONS: Final = "mentions"
OUTBOX: Final = "outbox"
MARKED: Final = "marked"
"""Places that people-sync counts: keys of `Erasure.counts`."""

ERASED_PERSON: Final = "Erased person"
"""Replaces the name of an erased person in rows of other people."""

_HERE: Final[Mapping[str, tuple[str, str]]] = {
    VALUES: ("Names, birthdate, gender, email, phone, address and the platform's id are gone from the directory.", ""),
    FAMILIES: (
        "Taken out of their families here; a family in which nobody was left is erased too.",
        "They were in no family here.",
    ),
    HISTORY: ("Every change of theirs, with its values, is gone from the history.", "They had no history here."),
    MIRROR: (
        "What was read of them in Planning Center is gone.",
        "Nothing that was read of them in Planning Center was kept.",
    ),
    LINKS: (
        "The link to Planning Center is gone, with the values last agreed on and what was sent.",
        "They were not linked to anybody in Planning Center.",
    ),
    HELD: ("Held matches that show them are gone.", "No held match showed them."),
    CONFLICTS: ("Their conflicts, as the sync kept them, are gone.", "The sync kept no conflict of theirs."),
    SYNCS: (
        "Their lines in the lists, plans and questions of syncs have no name and no values.",
        "No sync lists them.",
    ),
    MENTIONS: ("Their name is gone from what is kept of others.", "Nothing that is kept of others named them."),
    OUTBOX: (
        "Messages about them that were not sent yet are deleted.",
        "No message about them waited to be sent.",
    ),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One place and its erased rows."""

    place: str
    outcome: Outcome
    sentence: str
    count: int
    service: str | None = None
    """Service that owns the database; None for a place outside databases."""


def receipt(
    counts: Mapping[str, int], told: Sequence[Mapping[str, int] | None], *, days: int, failed_days: int, kept_out: bool
) -> list[Line]:
    """Compose the receipt's lines.

    `counts`: people-sync's rows by place. `told`: conflict-service's report for each erased record, None until it has
    come. `days`, `failed_days`: Kafka's retention. `kept_out`: whether syncs still leave the person out.
    """
    lines = [_here(place, counts.get(place, 0)) for place in _HERE]
    lines.append(_of_conflicts(told))
    lines.append(
        Line(
            "messages",
            "left",
            "The other services and the platform were told to forget them. Older messages are deleted by themselves: "
            f"those with the record about a day after the next change to anybody, others after {days} days, failed "
            f"ones after {failed_days}.",
            0,
        )
    )
    lines.append(
        Line(
            "notices",
            "left",
            "The log of Planning Center's change notices was told to delete what it holds about them: the text of each "
            "notice goes, and when it came stays.",
            0,
        )
    )
    lines.append(
        Line(
            "planning_center",
            "left",
            "Planning Center was not touched. If they are to be erased there too, do that in Planning Center.",
            0,
        )
    )
    lines.append(_marker(counts.get(MARKED, 0), kept_out=kept_out))
    return lines


def _here(place: str, count: int) -> Line:
    done, nothing = _HERE[place]
    outcome: Outcome = "done" if count else "not_needed"
    return Line(place, outcome, done if count else nothing, count, PEOPLE_SYNC)


def _of_conflicts(told: Sequence[Mapping[str, int] | None]) -> Line:
    count = sum(sum(one.values()) for one in told if one)
    outcome: Outcome = "done" if count else "not_needed"
    sentence = "The list of conflicts had nothing about them."
    if None in told:
        outcome, sentence = "pending", "The list of conflicts was told to forget them, and has not answered yet."
    elif count:
        sentence = "Their conflicts, what was decided about them and by whom are gone."
    return Line("decisions", outcome, sentence, count, CONFLICT_SERVICE)


def _marker(count: int, *, kept_out: bool) -> Line:
    place = "marker"
    if not count:
        sentence = "Nobody in Planning Center was known to be them, so there is nobody for syncs to leave out."
        return Line(place, "not_needed", sentence, 0)
    if not kept_out:
        sentence = "They were let back: syncs bring them again if they are in Planning Center."
        return Line(place, "not_needed", sentence, 0)
    return Line(
        place,
        "kept",
        "No sync brings them back. To recognize them, their ID in Planning Center is kept, and nothing else.",
        count,
    )


def without_names(text: str, names: Collection[str]) -> str:
    """The sentence with each of these names replaced, as a whole."""
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", ERASED_PERSON, text)
    return text


def without_people(value: Any, ids: Collection[str], names: Collection[str]) -> Any:
    """JSON of a plan without the names of people who have one of these ids (ours or Planning Center's)."""
    if isinstance(value, list):
        return [without_people(one, ids, names) for one in value]
    if isinstance(value, dict):
        if {"id", "pco_id", "name"} <= value.keys() and (value["id"] in ids or value["pco_id"] in ids):
            return {**value, "name": ERASED_PERSON}
        return {name: without_people(one, ids, names) for name, one in value.items()}
    return ERASED_PERSON if isinstance(value, str) and value in names else value
