"""What a read tells in the light of our own writes: changing lag, several writes of a field, lost answers."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from people_sync.domain.canonical import canonical, same
from people_sync.domain.merge import FamilyValues, Merge, MergePolicy, merge
from people_sync.domain.values import FIELDS, PersonValues, Value, as_dict, partial_from_json, to_json, value_to_json
from people_sync.domain.writes import (
    Reading,
    Write,
    confirmed,
    family_believable_at,
    made_lately,
    membership,
    person_believable_at,
)

COUNTRY = "US"
HORIZON = timedelta(seconds=120)
START = datetime(2026, 1, 5, tzinfo=UTC)
PERSON = PersonValues("Ann", "Smith", email="a@x.org", phone="+12125550143")
VALUES: dict[str, list[Value]] = {
    "first_name": ["Ann", "Bob", "Zoë"],
    "last_name": ["Smith", "Jones", "O’Brien"],
    "email": [None, "a@x.org", "b@x.org", "c@x.org"],
    "phone": [None, "(212) 555-0143", "212 555 0144", "212 555 0145"],
}
# A field is written more than once within a horizon only if there are few of them.
edits = st.sampled_from(["phone", "phone", "phone", "last_name"]).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[name]))
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_the_first_of_two_writes_is_not_forgotten() -> None:
    """A2: a fresh person and lagging contacts, two seconds after the second write."""
    writes = [
        Write("phone", "+12125550143", "+12125550150", at(0), at(0.2)),
        Write("last_name", "Smith", "Jones", at(2), at(2.2)),
    ]
    seen = replace(PERSON, last_name="Jones")
    assert person_believable_at(writes, seen, Reading(at(4), HORIZON), COUNTRY) == at(120.2)
    assert person_believable_at(writes, replace(seen, phone="+12125550150"), Reading(at(4), HORIZON), COUNTRY) is None


@pytest.mark.parametrize(
    ("phone", "stale"),
    [("+12125550143", True), ("+12125550150", True), ("+12125550160", False), ("+12125550199", False)],
    ids=["before both", "between", "the newest", "an edit of the church"],
)
def test_a_field_written_twice(phone: str, *, stale: bool) -> None:
    writes = [
        Write("phone", "+12125550143", "+12125550150", at(0), at(0)),
        Write("phone", "+12125550150", "+12125550160", at(60), at(60)),
    ]
    seen = replace(PERSON, phone=phone)
    assert (person_believable_at(writes, seen, Reading(at(90), HORIZON), COUNTRY) is not None) is stale
    assert person_believable_at(writes, seen, Reading(at(181), HORIZON), COUNTRY) is None


def test_who_joined_and_who_left_is_a_fact_each() -> None:
    writes = [
        Write(membership("a"), before=False, after=True, announced_at=at(0), answered_at=at(0)),
        Write(membership("b"), before=True, after=False, announced_at=at(1), answered_at=at(1)),
    ]
    reading = Reading(at(10), HORIZON)
    assert family_believable_at(writes, FamilyValues("Smith", frozenset("a")), reading) is None
    assert family_believable_at(writes, FamilyValues("Smith", frozenset("ab")), reading) == at(121)
    assert family_believable_at(writes, FamilyValues("Smith", frozenset()), reading) == at(120)


def test_a_404_for_somebody_made_lately_says_nothing() -> None:
    writes = [Write("created", None, None, at(0), at(0))]
    assert made_lately(writes, Reading(at(100), HORIZON)) == at(120)
    assert made_lately(writes, Reading(at(121), HORIZON)) is None


@dataclass
class World:
    """Two sides and the engine between them, on its own pure functions; it stores what the engine stores, when it does.

    The vendor shows our own writes late: every field by a lag of its own, another in every read. Edits of the church
    show at once: what is overwritten while they do not is the documented window.
    """

    ours: PersonValues
    there: list[tuple[datetime, PersonValues]]
    now: datetime = START
    agreed: dict[str, Value] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    edited_at: dict[str, datetime] = field(default_factory=dict)
    typed: dict[str, dict[str, Value]] = field(default_factory=lambda: {"here": {}, "there": {}})
    common: dict[str, Value] = field(default_factory=dict)
    overwritten: list[str] = field(default_factory=list)
    conflicts: set[str] = field(default_factory=set)
    sent: int = 0

    @property
    def theirs(self) -> PersonValues:
        return self.there[-1][1]

    def put_there(self, name: str, value: Value) -> None:
        self.there.append((self.now, replace(self.theirs, **{name: value})))  # type: ignore[arg-type]

    def edit(self, side: str, name: str, value: Value) -> None:
        current = getattr(self.ours if side == "here" else self.theirs, name)
        if same(name, value, current, COUNTRY):
            return
        if side == "here":
            self.ours = replace(self.ours, **{name: value})  # type: ignore[arg-type]
        elif any(write.answered_at is None and write.field == name for write in self.writes):
            return  # an answer lost, and nobody has looked since: whether it had arrived cannot be known
        else:
            self.put_there(name, value)
            self.edited_at[name] = self.now
        self.typed[side][name] = value
        if name in self.common and same(name, value, self.common[name], COUNTRY):
            del self.typed[side][name]

    def seen(self, lags: dict[str, float]) -> PersonValues:
        shown: dict[str, Any] = {}
        for name in FIELDS:
            instant = self.now - timedelta(seconds=lags.get(name, 0.0))
            instant = max(instant, self.edited_at.get(name, instant))
            values = [values for when, values in self.there if when <= instant] or [self.there[0][1]]
            shown[name] = getattr(values[-1], name)
        return PersonValues(**shown)

    def sync(self, lags: dict[str, float], fates: dict[str, str], policy: MergePolicy) -> None:
        seen, reading = self.seen(lags), Reading(self.now, HORIZON)
        if person_believable_at(self.writes, seen, reading, COUNTRY):
            return
        base = self.agreed | confirmed(self.writes, seen, COUNTRY)
        self.writes = [
            write if write.answered_at else replace(write, answered_at=write.announced_at)
            for write in reading.recent(self.writes)
        ]
        result = merge(base, self.ours, seen, policy)
        self.conflicts = set(result.conflicts)
        for name in FIELDS:
            if same(name, getattr(self.ours, name), getattr(seen, name), COUNTRY):
                self.settle(name, getattr(seen, name))
        self.agreed = partial_from_json(to_json(base | dict(result.agreed) | dict(result.to_ours)))
        for name, value in result.to_ours.items():
            assert same(name, value, getattr(self.theirs, name), COUNTRY), "an old value of ours came back"
            self.note("here", name, result, getattr(self.ours, name))
            self.ours = replace(self.ours, **{name: value})
            self.settle(name, value)
        for name, value in result.to_theirs.items():
            self.write(name, value, result, fates.get(name, "fine"))

    def write(self, name: str, value: Value, result: Merge, fate: str) -> None:
        assert same(name, result.replaced[name], getattr(self.theirs, name), COUNTRY), "decided on a stale value"
        before, after = value_to_json(result.replaced[name]), value_to_json(value)
        self.sent += 1
        announced = Write(name, before, after, self.now)
        if fate == "refused":
            return  # a definite 4xx takes its row back
        self.writes.append(announced if fate != "fine" else replace(announced, answered_at=self.now))
        if fate == "lost":
            return
        self.note("there", name, result, getattr(self.theirs, name))
        self.put_there(name, value)
        self.settle(name, value)
        if fate == "fine":
            self.agreed[name] = value

    def settle(self, name: str, value: Value) -> None:
        self.common[name] = value
        for typed in self.typed.values():
            if name in typed and same(name, typed[name], value, COUNTRY):
                del typed[name]

    def note(self, side: str, name: str, result: Merge, value: Value) -> None:
        typed = self.typed[side]
        if name not in typed or result.reasons[name] == "first_match":
            return
        if result.reasons[name] == "filled":
            assert canonical(name, value, COUNTRY) is None
        elif same(name, typed[name], value, COUNTRY):
            self.overwritten.append(name)


lags = st.fixed_dictionaries(
    {name: st.sampled_from([0.0, 1.2, 2.0, 5.0, 60.0, 119.0]) for name in ("phone", "last_name")}
)
fates = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(["fine", "lost", "answer lost", "refused"]) for name in VALUES}
)
steps = st.lists(
    st.one_of(
        *[st.tuples(st.just("written"), edits, st.none())] * 3,
        st.tuples(st.just("here"), edits, st.none()),
        st.tuples(st.just("there"), edits, st.none()),
        st.tuples(st.just("sync"), lags, fates),
        st.tuples(st.just("wait"), st.floats(0.1, 150), st.none()),
    ),
    min_size=4,
    max_size=24,
)


@settings(max_examples=300)
@given(steps, st.booleans())
def test_histories_with_lag_overwrite_nothing_and_converge(
    history: list[tuple[str, Any, Any]], merge_different_fields: bool
) -> None:
    policy = MergePolicy(merge_different_fields=merge_different_fields, country=COUNTRY)
    world = World(PERSON, [(START - 2 * HORIZON, PERSON)])
    world.sync({}, {}, policy)
    for kind, what, more in history:
        world.now += timedelta(seconds=0.5)
        if kind == "wait":
            world.now += timedelta(seconds=what)
        elif kind == "sync":
            world.sync(what, more, policy)
        elif kind == "written":
            world.edit("here", *what)
            world.sync({}, {}, policy)
        else:
            world.edit(kind, *what)
        assert world.overwritten == []
    for _ in range(4):
        world.now += HORIZON + timedelta(seconds=1)
        world.sync({}, {}, policy)
    for name in FIELDS:
        equal = same(name, getattr(world.ours, name), getattr(world.theirs, name), COUNTRY)
        assert equal or name in world.conflicts, name
    before, agreed = world.sent, as_dict(world.ours)
    world.now += HORIZON + timedelta(seconds=1)
    world.sync({}, {}, policy)
    assert (world.sent, as_dict(world.ours)) == (before, agreed)
    assert world.overwritten == []
