"""Matching of families here with households in Planning Center that no link ties yet."""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from people_sync.domain.merge import FamilyValues
from people_sync.domain.planning_center import RemoteHousehold
from synckit.text import fold

_AROUND_A_SURNAME: Final = frozenset({"the", "family", "household"})
STRANGER: Final = "stranger"
"""Stands for the id of a primary contact without a member here yet."""


def household_values(household: RemoteHousehold, people: Mapping[str, UUID]) -> FamilyValues:
    """The household in terms of our members, without unlinked people."""
    primary = household.primary_contact_id
    return FamilyValues(
        name=household.name,
        members=frozenset(str(people[pco_id]) for pco_id in household.person_ids if pco_id in people),
        primary_contact=str(people.get(primary, STRANGER)) if primary in household.person_ids else None,
    )


@dataclass(frozen=True, slots=True)
class Home:
    """A family or household, reduced to the people that the other side can know."""

    name: str
    known: frozenset[Hashable]
    others: int = 0
    """Number of further people, whom the other side cannot know or has in no family."""


def is_the_same(one: Home, other: Home) -> bool:
    """Whether a family and an unlinked household are the same.

    - The names are equal: they have the same people as far as both sides know them, or more than half of the smaller.
    - The surnames are equal: they have the same people, or everybody of one is in the other and that is more than one.
    - The names differ: they have the same people. One person alone is not enough where each has others, since a couple
      is not the household of the husband's parents.

    Otherwise they are two: an administrator mends a duplicated family more easily than two families merged into one,
    whose people would join each other on both sides.
    """
    common = one.known & other.known
    same_people = bool(common) and one.known == other.known
    if fold(one.name) == fold(other.name):
        return same_people or 2 * len(common) > min(len(home.known) + home.others for home in (one, other))
    if _surname(one.name) == _surname(other.name):
        return same_people or (len(common) > 1 and common in (one.known, other.known))
    return same_people and (len(common) > 1 or not (one.others and other.others))


def _surname(name: str) -> str:
    """The surname in a family's name: `smith` for `The Smith Family` and `Smith Household`."""
    words = fold(name).split()
    return " ".join([word for word in words if word not in _AROUND_A_SURNAME] or words)


def match_family(household: Home, families: Mapping[UUID, Home]) -> UUID | None:
    """The unlinked family that is this household.

    Of several the one with the most members in common, then the one of the same name; None if several remain.
    """
    scores = {
        family: (len(household.known & home.known), fold(household.name) == fold(home.name))
        for family, home in families.items()
        if is_the_same(household, home)
    }
    best = max(scores.values(), default=None)
    winners = [family for family, score in scores.items() if score == best]
    return winners[0] if len(winners) == 1 else None


def match_families(households: Mapping[str, Home], families: Mapping[UUID, Home]) -> dict[str, UUID]:
    """`match_family` for many households, by Planning Center's id; each family is matched at most once.

    Lower ids choose first. Only families with a common person are compared, so the cost is linear in memberships.
    """
    of_member: dict[Hashable, set[UUID]] = defaultdict(set)
    for family, home in families.items():
        for member in home.known:
            of_member[member].add(family)
    found: dict[str, UUID] = {}
    for pco_id in sorted(households, key=int):
        household = households[pco_id]
        near = {family: families[family] for member in household.known for family in of_member.get(member, ())}
        match = match_family(household, near)
        if match is not None:
            found[pco_id] = match
            for member in families[match].known:
                of_member[member].discard(match)
    return found
