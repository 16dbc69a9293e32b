"""Strays: records that a worker created in Planning Center after it had lost its lease.

A stray duplicates the creation of the record's next writer, or takes its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from people_sync.domain.canonical import identical
from people_sync.domain.values import Value

_SHOWN: Final = timedelta(days=1)
"""Time after which every read shows a settlement."""

Fate: TypeAlias = Literal["keep", "leave", "take_back"]
"""`keep`: the stray is our record's counterpart. `leave`: others use it by now. `take_back`: a duplicate of ours."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The fate of a person's contacts of one kind."""

    keep: str | None
    """The contact that our field maps to; None if we cannot decide."""
    take_back: frozenset[str] = frozenset()
    """Contacts of ours to delete, which nobody wants."""


def fate_of_record(made: str, *, counterpart: str | None, another_record: bool) -> Fate:
    """The fate of a person or household, by Planning Center's ids.

    `counterpart`: the counterpart of the record it was made for; None without a link, or if that one is gone.
    `another_record`: whether the stray is linked to another record here.
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
    """The fate of contacts of one kind. `there`: all that the person has, value by id.

    `answered`: the contact that the next writer made or found. `sent`: the value both were made with. `agreed`: the
    last agreed value. A contact of ours that was edited since is never deleted.
    """
    ours = [one for one in (answered, stray) if one is not None and one in there]
    if stray not in ours:
        return Kept(None)
    wanted = [one for one in there if agreed is not None and identical(name, there[one], agreed, country)]
    # The next writer's contact comes first, then others', then the stray.
    wanted.sort(key=lambda one: (one != answered, one == stray))
    keep = wanted[0] if wanted else answered if agreed is not None and answered in there else None
    if keep is None and agreed is not None:
        return Kept(None)
    unedited = {one for one in ours if identical(name, there[one], sent, country)} | {*wanted} & {*ours}
    return Kept(keep, frozenset(unedited - {keep}))


def is_still_stray(settled_at: datetime | None, *, used_again: bool, now: datetime) -> bool:
    """Whether a stray found in a read must still be ignored: unsettled, or unused since it was settled.

    `used_again`: it is active, or has people in it, which lagging reads also show for a while.
    """
    return settled_at is None or not used_again or now - settled_at < _SHOWN


def is_doubled_membership(stray: str, people: Mapping[str, str | None]) -> bool:
    """Whether the stray membership duplicates another one. `people`: person by membership."""
    person = people.get(stray)
    return person is not None and sum(one == person for one in people.values()) > 1
