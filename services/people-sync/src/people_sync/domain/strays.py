"""What becomes of something in Planning Center that was made by a worker who had lost the right to it meanwhile.

A *stray* was made beside what the record's next writer made, or in place of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from people_sync.domain.canonical import identical
from people_sync.domain.values import Value

_SHOWN: Final = timedelta(days=1)
"""After that every read shows what was settled."""

Fate: TypeAlias = Literal["keep", "leave", "take_back"]
"""`keep`: it is what our record stands for. `leave`: somebody else's matter by now. `take_back`: doubly ours."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Of a person's contacts of one kind."""

    keep: str | None
    """The one that our field stands for; None if that is not for us to say."""
    take_back: frozenset[str] = frozenset()
    """Ours, and nobody's wish."""


def fate_of_record(made: str, *, counterpart: str | None, another_record: bool) -> Fate:
    """Of a person or household, by Planning Center's ids.

    `counterpart`: whom the record that it was made for is linked to; None without a link, or if that one is gone.
    `another_record`: whether it is linked to another record here.
    """
    if made == counterpart:
        return "keep"
    return "leave" if counterpart is None or another_record else "take_back"


def contacts_to_keep(
    name: str,
    there: Mapping[str, Value],
    *,
    stray: str,
    answered: str | None,
    sent: Value,
    agreed: Value,
    country: str,
) -> Kept:
    """Of all contacts of one kind that a person has `there`, value by id.

    `answered`: the contact that the next writer made or found. `sent`: what both were made with. `agreed`: what both
    sides last agreed on. A contact of ours that somebody has edited since is nobody's to take back.
    """
    ours = [one for one in (answered, stray) if one is not None and one in there]
    if stray not in ours:
        return Kept(None)
    wanted = [one for one in there if agreed is not None and identical(name, there[one], agreed, country)]
    # What the next writer made goes before others', and others' before the stray.
    wanted.sort(key=lambda one: (one != answered, one == stray))
    keep = wanted[0] if wanted else answered if agreed is not None and answered in there else None
    if keep is None and agreed is not None:
        return Kept(None)
    unedited = {one for one in ours if identical(name, there[one], sent, country)} | {*wanted} & {*ours}
    return Kept(keep, frozenset(unedited - {keep}))


def is_still_stray(settled_at: datetime | None, *, used_again: bool, now: datetime) -> bool:
    """Whether a stray that is met there is nobody of its own: not settled, or left as it was settled.

    `used_again`: it is active, or has people in it. Reads that lag show that as well for a while.
    """
    return settled_at is None or not used_again or now - settled_at < _SHOWN


def is_doubled_membership(stray: str, people: Mapping[str, str | None]) -> bool:
    """Whether somebody is twice in a household. `people`: by membership, the person."""
    person = people.get(stray)
    return person is not None and sum(one == person for one in people.values()) > 1
