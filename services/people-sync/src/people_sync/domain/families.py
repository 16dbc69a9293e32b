"""Which family here is which household in Planning Center, when nothing links them yet."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from people_sync.domain.canonical import fold
from people_sync.domain.merge import FamilyValues
from people_sync.domain.planning_center import RemoteHousehold

STRANGER: Final = "stranger"
"""In place of the member's id: a primary contact who is nobody here yet."""


def household_values(household: RemoteHousehold, people: Mapping[str, UUID]) -> FamilyValues:
    """The household in terms of our members; who is not linked is left out."""
    primary = household.primary_contact_id
    return FamilyValues(
        name=household.name,
        members=frozenset(str(people[pco_id]) for pco_id in household.person_ids if pco_id in people),
        primary_contact=str(people.get(primary, STRANGER)) if primary in household.person_ids else None,
    )


def is_the_same(name: str, people: frozenset[str], household_name: str, household_people: frozenset[str]) -> bool:
    """Whether a household is the family that we want to create there, or have sent.

    It has the same people, or most of them and the same name.

    Somebody there may have given it another name, or other people, since.
    """
    common = people & household_people
    most = bool(common) and 2 * len(common) >= min(len(people), len(household_people))
    return most and (people == household_people or fold(name) == fold(household_name))


def match_family(
    name: str, members: frozenset[UUID], families: Mapping[UUID, tuple[str, frozenset[UUID]]]
) -> UUID | None:
    """The one family that is this household: the most members in common, at least half of the smaller of the two.

    `members`: the household's people as members here. `families`: id to (name, members) of those not linked. Of
    several with as many in common, the one of the same name; if that does not tell them apart, none: a second family
    with the same people is easier to mend than two families made one.
    """
    scores = {
        family: (len(members & theirs), fold(name) == fold(family_name))
        for family, (family_name, theirs) in families.items()
        if 2 * len(members & theirs) >= max(1, min(len(members), len(theirs)))
    }
    if not scores:
        return None
    best = max(scores.values())
    winners = [family for family, score in scores.items() if score == best]
    return winners[0] if len(winners) == 1 and best[0] > 0 else None


def match_families(
    households: Mapping[str, tuple[str, frozenset[UUID]]], families: Mapping[UUID, tuple[str, frozenset[UUID]]]
) -> dict[str, UUID]:
    """`match_family` for many households (Planning Center's id to name and members), each family for one at most.

    Lower ids choose first. Looks at families with somebody in common alone, so it costs what the members cost.
    """
    of_member: dict[UUID, set[UUID]] = defaultdict(set)
    for family, (_, theirs) in families.items():
        for member in theirs:
            of_member[member].add(family)
    found: dict[str, UUID] = {}
    for pco_id in sorted(households, key=int):
        name, members = households[pco_id]
        near = {family: families[family] for member in members for family in of_member.get(member, ())}
        match = match_family(name, members, near)
        if match is not None:
            found[pco_id] = match
            for member in families[match][1]:
                of_member[member].discard(match)
    return found
