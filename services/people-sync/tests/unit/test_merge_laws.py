"""Laws of the merge for all values, and whole histories of two sides that are edited while a sync runs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from contracts.people import Address
from people_sync.domain.canonical import canonical, identical, nothing_new, same, year_known
from people_sync.domain.merge import NOTHING, FamilyValues, FirstMatch, Merge, MergePolicy, merge, merge_family
from people_sync.domain.values import FIELDS, PersonValues, Value, as_dict, partial_from_json, to_json

COUNTRY = "US"
NAMES = {"first_name", "last_name"}

# Few values per field, so that sides agree, contradict, and differ only by format.
VALUES: dict[str, list[Value]] = {
    "first_name": ["Ann", "ann", " Ann ", "Zoë", "Zoe\u0308", "Zo\u200bë", "", "\u200e", "Bob"],
    "last_name": ["Smith", "Smith ", "O’Brien", "", "Jones"],
    "birthdate": [None, date(1990, 1, 1), date(2015, 5, 5), date(2016, 5, 5), date(1885, 5, 5)],
    "gender": [None, "Male", "Female", ""],
    "child": [False, True],
    "email": [None, "", "a@x.org", "A@x.org ", "b@x.org", "c@x.org"],
    "phone": [None, "", "(212) 555-0143", "+12125550143", "212 555 0144", "Mum 212 555 0143"],
    "address": [
        None,
        Address(),
        Address(city="Ulm"),
        Address(city="Ulm ", country_code="US"),
        Address(city="Ulm", country_code="DE"),
        Address(street_line_1="1 Main St", city="Ulm"),
        Address(street_line_1="1 Main St\nApt 2", city="Ulm"),
        Address(street_line_1="1 Main St", street_line_2="Apt 2", city="Ulm"),
    ],
}

people = st.builds(PersonValues, **{name: st.sampled_from(values) for name, values in VALUES.items()})
edits = st.sampled_from(FIELDS).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[name])))
bases: st.SearchStrategy[dict[str, Value]] = st.one_of(
    st.just({}),
    people.map(as_dict),
    st.tuples(people, st.sets(st.sampled_from(FIELDS))).map(
        lambda pair: {name: value for name, value in as_dict(pair[0]).items() if name in pair[1]}
    ),
)
choices: st.SearchStrategy[FirstMatch] = st.sampled_from(["planning_center", "ask", "ours"])
policies = st.builds(MergePolicy, first_match=choices, merge_different_fields=st.booleans(), country=st.just(COUNTRY))
# More similar than independent people would be.
triples = st.tuples(people, st.lists(edits, max_size=3), st.lists(edits, max_size=3)).map(
    lambda drawn: (edited(drawn[0], drawn[1]), edited(drawn[0], drawn[2]))
)
sides = st.one_of(triples, st.tuples(people, people))


def edited(values: PersonValues, changes: list[tuple[str, Value]]) -> PersonValues:
    return replace(values, **dict(changes))  # type: ignore[arg-type]


def moved(name: str, value: Value, base: dict[str, Value]) -> bool:
    return not says_nothing_new(name, value, base[name])


def says_nothing_new(name: str, value: Value, was: Value) -> bool:
    """Whether a value is equal except for formatting, or a birthdate that lost its year."""
    return nothing_new(canonical(name, value, COUNTRY), canonical(name, was, COUNTRY))


def after(values: PersonValues, written: Any) -> PersonValues:
    return replace(values, **written)


def agreed_after(base: dict[str, Value], outcome: Merge) -> dict[str, Value]:
    return base | dict(outcome.agreed) | dict(outcome.to_ours) | dict(outcome.to_theirs)


@given(bases, sides, policies)
def test_no_value_is_lost_without_agreement(
    base: dict[str, Value], two: tuple[PersonValues, PersonValues], policy: MergePolicy
) -> None:
    ours, theirs = two
    outcome = merge(base, ours, theirs, policy)
    for loser, winner, writes in (
        (as_dict(ours), as_dict(theirs), outcome.to_ours),
        (as_dict(theirs), as_dict(ours), outcome.to_theirs),
    ):
        for name, value in writes.items():
            assert value == winner[name]
            assert outcome.replaced[name] == loser[name]
            empty = canonical(name, loser[name], COUNTRY) is None
            if name in NAMES:
                assert canonical(name, value, COUNTRY) is not None, "an empty name overwrote a name"
            if name in base and not (empty and name in NAMES):
                assert not moved(name, loser[name], base), "a typed value was overwritten"
                assert moved(name, winner[name], base), "an old value came back"
            elif not empty:
                assert outcome.reasons[name] == "first_match"
                assert policy.first_match != "ask"


@given(bases, sides, policies)
def test_every_difference_is_written_or_in_conflict(
    base: dict[str, Value], two: tuple[PersonValues, PersonValues], policy: MergePolicy
) -> None:
    ours, theirs = two
    outcome = merge(base, ours, theirs, policy)
    groups = [outcome.to_ours, outcome.to_theirs, outcome.conflicts, outcome.agreed]
    for name in FIELDS:
        differs = not same(name, getattr(ours, name), getattr(theirs, name), COUNTRY)
        found = [name in group for group in groups]
        assert sum(found) <= 1
        # A new year is written although a birthdate without one agrees with it.
        year = name == "birthdate" and not differs and ours.birthdate != theirs.birthdate
        assert any(found[:3]) == differs or year


@given(bases, sides, policies)
def test_the_sides_are_treated_alike(
    base: dict[str, Value], two: tuple[PersonValues, PersonValues], policy: MergePolicy
) -> None:
    mirrored: dict[FirstMatch, FirstMatch] = {"planning_center": "ours", "ours": "planning_center", "ask": "ask"}
    ours, theirs = two
    one = merge(base, ours, theirs, policy)
    other = merge(base, theirs, ours, replace(policy, first_match=mirrored[policy.first_match]))
    assert one.to_ours == other.to_theirs
    assert one.to_theirs == other.to_ours
    assert set(one.conflicts) == set(other.conflicts)
    assert set(one.agreed) == set(other.agreed)


@given(bases, sides, policies)
def test_merging_the_result_again_changes_nothing(
    base: dict[str, Value], two: tuple[PersonValues, PersonValues], policy: MergePolicy
) -> None:
    outcome = merge(base, *two, policy)
    ours, theirs = after(two[0], outcome.to_ours), after(two[1], outcome.to_theirs)
    base = partial_from_json(to_json(agreed_after(base, outcome)))
    again = merge(base, ours, theirs, policy)
    assert not again.writes
    assert not again.agreed
    assert set(again.conflicts) == set(outcome.conflicts)
    if not outcome.conflicts:
        assert all(same(name, getattr(ours, name), getattr(theirs, name), COUNTRY) for name in FIELDS)


@given(people, st.data(), policies)
def test_formatting_never_writes(values: PersonValues, data: st.DataObject, policy: MergePolicy) -> None:
    def noisy() -> PersonValues:
        equal = {
            name: [value for value in VALUES[name] if identical(name, value, getattr(values, name), COUNTRY)]
            for name in FIELDS
        }
        return edited(values, [(name, data.draw(st.sampled_from(equal[name]))) for name in FIELDS])

    assert merge(as_dict(noisy()), noisy(), noisy(), policy) == NOTHING


@given(sides, st.data(), policies)
def test_kept_differences_hold_exactly_until_a_value_changes(
    two: tuple[PersonValues, PersonValues], data: st.DataObject, policy: MergePolicy
) -> None:
    ours, theirs = two
    differing = [name for name in FIELDS if not identical(name, getattr(ours, name), getattr(theirs, name), COUNTRY)]
    assume(differing)
    base = as_dict(data.draw(people))
    kept = {name: (getattr(ours, name), getattr(theirs, name)) for name in differing}
    outcome = merge(base, ours, theirs, policy, kept)
    assert not outcome.writes
    assert not outcome.conflicts
    name = data.draw(st.sampled_from(differing))
    value = data.draw(st.sampled_from(VALUES[name]))
    assume(not same(name, value, getattr(ours, name), COUNTRY))
    assume(not same(name, value, getattr(theirs, name), COUNTRY))
    reopened = merge(base, replace(ours, **{name: value}), theirs, policy, kept)  # type: ignore[arg-type]
    assert set(reopened.conflicts) == {name}
    assert not reopened.writes


# --- histories -----------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Two sides and the sync between them, as the engine runs it: read, merge, write with a check, store agreed.

    A write there can get lost, can be applied with its answer lost, and reads can be stale right after one. What is
    about to be written is stored first: if it is found there later, it was agreed, whatever became of the answer
    (else somebody who goes back to the former value here would look as if nothing had been typed). One window stays,
    since the vendor has no conditional writes: an answer lost, and before we look again somebody there edits that
    same field. Whether the write had arrived before cannot be known then.

    A typed value must not be overwritten unless the same side superseded it, the other side took it over, or both
    sides were seen equal at that very value since.
    """

    ours: PersonValues
    theirs: PersonValues
    policy: MergePolicy
    base: dict[str, Value] = field(default_factory=dict)
    intended: dict[str, Value] = field(default_factory=dict)
    stale: PersonValues | None = None
    common: dict[str, Value] = field(default_factory=dict)
    """What both sides last had when a sync looked or wrote: going back to it is the same as not having typed."""
    overwritten: list[str] = field(default_factory=list)
    typed_here: dict[str, Value] = field(default_factory=dict)
    typed_there: dict[str, Value] = field(default_factory=dict)
    conflicts: set[str] = field(default_factory=set)

    def edit_here(self, name: str, value: Value) -> None:
        if identical(name, value, getattr(self.ours, name), COUNTRY):
            return
        self.ours = replace(self.ours, **{name: value})  # type: ignore[arg-type]
        self.typed(self.typed_here, name, value)

    def edit_there(self, name: str, value: Value) -> None:
        if name in self.intended or identical(name, value, getattr(self.theirs, name), COUNTRY):
            return
        self.theirs = replace(self.theirs, **{name: value})  # type: ignore[arg-type]
        self.typed(self.typed_there, name, value)
        self.stale = None

    def typed(self, typed: dict[str, Value], name: str, value: Value) -> None:
        typed[name] = value
        if name in self.common and says_nothing_new(name, value, self.common[name]):
            del typed[name]

    def sync(self, *, during: Callable[[], None] = lambda: None, fate: str = "fine") -> None:
        # A stale read within the horizon of our own write decides nothing.
        if self.stale is not None:
            seen, self.stale = self.stale, None
            if seen != self.theirs:
                return
        self.recognise_own_writes()
        read_ours, read_theirs = self.ours, self.theirs
        outcome = merge(self.base, read_ours, read_theirs, self.policy)
        self.conflicts = set(outcome.conflicts)
        for name in FIELDS:
            here, there = getattr(read_ours, name), getattr(read_theirs, name)
            if identical(name, here, there, COUNTRY):
                self.settle(name, here)
            elif same(name, here, there, COUNTRY) and name not in {
                *outcome.to_ours,
                *outcome.to_theirs,
                *self.conflicts,
            }:
                self.settle(name, here if year_known(here) else there)
        during()
        self.base |= outcome.agreed
        for name, value in outcome.to_ours.items():
            # Our row is locked, so an edit made meanwhile is seen, and the next run decides.
            if getattr(self.ours, name) == getattr(read_ours, name):
                self.take_here(name, value, outcome)
        for name, value in outcome.to_theirs.items():
            # Read right before the write, so an edit made there meanwhile is seen too.
            if getattr(self.theirs, name) != getattr(read_theirs, name) or fate == "lost":
                continue
            before = self.theirs
            self.intended[name] = value
            self.take_there(name, value, outcome)
            if fate == "answer lost":
                continue
            del self.intended[name]
            self.base[name] = value
            if fate == "stale":
                self.stale = before

    def recognise_own_writes(self) -> None:
        for name, value in self.intended.items():
            if identical(name, value, getattr(self.theirs, name), COUNTRY):
                self.base[name] = value
        self.intended = {}

    def take_here(self, name: str, value: Value, outcome: Merge) -> None:
        self.note(name, self.ours, self.typed_here, value, outcome)
        self.ours = replace(self.ours, **{name: value})  # type: ignore[arg-type]
        self.base[name] = value
        self.settle(name, value)

    def take_there(self, name: str, value: Value, outcome: Merge) -> None:
        self.note(name, self.theirs, self.typed_there, value, outcome)
        # The vendor reformats values.
        self.theirs = replace(self.theirs, **{name: f" {value} " if name == "last_name" else value})  # type: ignore[arg-type]
        self.settle(name, value)

    def settle(self, name: str, value: Value) -> None:
        self.common[name] = value
        for typed in (self.typed_here, self.typed_there):
            if name in typed and same(name, typed[name], value, COUNTRY):
                del typed[name]

    def note(self, name: str, side: PersonValues, typed: dict[str, Value], new: Value, outcome: Merge) -> None:
        value = getattr(side, name)
        if name not in typed or outcome.reasons[name] == "first_match":
            return
        if outcome.reasons[name] == "filled":
            assert canonical(name, value, COUNTRY) is None
            return
        if identical(name, typed[name], value, COUNTRY) and not says_nothing_new(name, value, new):
            self.overwritten.append(name)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, Any, Any]]:
    step = st.one_of(
        st.tuples(st.just("here"), edits, st.none()),
        st.tuples(st.just("there"), edits, st.none()),
        st.tuples(
            st.just("sync"),
            st.sampled_from(["fine", "fine", "lost", "answer lost", "stale"]),
            st.lists(st.tuples(st.booleans(), edits), max_size=2),
        ),
    )
    return draw(st.lists(step, max_size=14))


@given(sides, policies, steps())
def test_histories_lose_nothing_and_converge(
    two: tuple[PersonValues, PersonValues], policy: MergePolicy, history: list[tuple[str, Any, Any]]
) -> None:
    world = World(*two, policy)
    world.sync()
    for kind, what, meanwhile in history:
        if kind == "here":
            world.edit_here(*what)
        elif kind == "there":
            world.edit_there(*what)
        else:

            def during(changes: list[tuple[bool, tuple[str, Value]]] = meanwhile) -> None:
                for here, (name, value) in changes:
                    (world.edit_here if here else world.edit_there)(name, value)

            world.sync(during=during, fate=what)
        assert world.overwritten == []
    for _ in range(3):
        world.sync()
    for name in FIELDS:
        equal = same(name, getattr(world.ours, name), getattr(world.theirs, name), COUNTRY)
        assert equal or name in world.conflicts, name
    settled = (world.ours, world.theirs, dict(world.base))
    world.sync()
    assert (world.ours, world.theirs, world.base) == settled
    assert world.overwritten == []


ids = st.frozensets(st.sampled_from("abcdef"))
families = st.builds(
    FamilyValues,
    name=st.sampled_from(["Smith", "Smith ", "Jones", ""]),
    members=ids,
    primary_contact=st.one_of(st.none(), st.sampled_from("abcdef")),
)


@given(st.one_of(st.just(None), families), families, families, policies)
def test_families_converge_and_change_only_edited_memberships(
    before: FamilyValues | None, ours: FamilyValues, theirs: FamilyValues, policy: MergePolicy
) -> None:
    base: dict[str, Any] = (
        {"name": before.name, "members": before.members, "primary_contact": before.primary_contact} if before else {}
    )
    outcome = merge_family(base, ours, theirs, policy)
    agreed = before.members if before else frozenset()
    assert outcome.remove_from_ours <= agreed - theirs.members
    assert outcome.remove_from_theirs <= agreed - ours.members
    assert not (outcome.add_to_ours | outcome.add_to_theirs) & agreed
    if not {ours.primary_contact, theirs.primary_contact} <= {None, *ours.members, *theirs.members}:
        # The other side cannot know them.
        assert "primary_contact" not in {**outcome.fields.to_ours, **outcome.fields.to_theirs, **outcome.fields.agreed}
    here = (ours.members | outcome.add_to_ours) - outcome.remove_from_ours
    there = (theirs.members | outcome.add_to_theirs) - outcome.remove_from_theirs
    assert here == there
    halfway = merge_family(
        base
        | dict(outcome.fields.agreed)
        | dict(outcome.fields.to_ours)
        | {"members": (outcome.agreed_members - outcome.remove_from_ours) | outcome.add_to_ours},
        replace(ours, members=here, **outcome.fields.to_ours),
        theirs,
        policy,
    )
    assert halfway.add_to_theirs == outcome.add_to_theirs, "taken over here, and not written there yet"
    assert halfway.remove_from_theirs == outcome.remove_from_theirs
    assert not halfway.add_to_ours | halfway.remove_from_ours
    again = merge_family(
        base
        | dict(outcome.fields.agreed)
        | dict(outcome.fields.to_ours)
        | dict(outcome.fields.to_theirs)
        | {"members": here},
        replace(ours, members=here, **outcome.fields.to_ours),
        replace(theirs, members=there, **outcome.fields.to_theirs),
        policy,
    )
    assert not again.writes


@given(st.one_of(st.just(None), families), families, families, policies, ids)
def test_members_left_alone_do_not_move(
    before: FamilyValues | None, ours: FamilyValues, theirs: FamilyValues, policy: MergePolicy, alone: frozenset[str]
) -> None:
    """All others move as if those were in none of the sets; the agreed values about them stay."""
    base: dict[str, Any] = (
        {"name": before.name, "members": before.members, "primary_contact": before.primary_contact} if before else {}
    )
    agreed = before.members if before else frozenset()
    outcome = merge_family(base, ours, theirs, policy, left_alone=alone)
    without = merge_family(
        base | {"members": agreed - alone},
        replace(ours, members=ours.members - alone),
        replace(theirs, members=theirs.members - alone),
        policy,
    )
    assert outcome.agreed_members == without.agreed_members | (agreed & alone)
    assert outcome.waiting == (theirs.members & alone) - ours.members - agreed
    assert replace(outcome, agreed_members=without.agreed_members, waiting=frozenset()) == without
    if {ours.primary_contact, theirs.primary_contact} & alone:
        assert "primary_contact" not in {**outcome.fields.to_ours, **outcome.fields.to_theirs, **outcome.fields.agreed}
