"""The meaning of a read after our own writes: changing lag, several writes of a field, lost answers."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.conflicts import Choice
from contracts.values import MEMBER
from people_sync.domain.canonical import canonical, same
from people_sync.domain.decisions import settle
from people_sync.domain.merge import FamilyValues, Merge, MergePolicy, merge
from people_sync.domain.values import FIELDS, PersonValues, Value, as_dict, to_json, value_from_json, value_to_json
from people_sync.domain.writes import family_believable_at, membership, person_believable_at
from people_sync.storage.links import agree, agreed_since, base_of, member_differences
from people_sync.storage.tables import Link
from people_sync.usecases.conflicts import fields_of
from synckit.staleness import Reading, Write, made_lately

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
# Few fields, so that one is written more than once within a horizon.
edits = st.sampled_from(["phone", "phone", "phone", "last_name"]).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[name]))
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


# Kind: facts about fields are stored per record.
def test_the_first_of_two_writes_is_not_forgotten() -> None:
    """A2: a fresh person and lagging contacts, two seconds after the second write."""
    writes = [
        Write("phone", "+12125550143", "+12125550150", at(0), at(0.2)),
        Write("last_name", "Smith", "Jones", at(2), at(2.2)),
    ]
    seen = replace(PERSON, last_name="Jones")
    assert person_believable_at(writes, seen, Reading(at(4), HORIZON), COUNTRY, active=True) == at(120.2)
    assert (
        person_believable_at(writes, replace(seen, phone="+12125550150"), Reading(at(4), HORIZON), COUNTRY, active=True)
        is None
    )


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
    assert (person_believable_at(writes, seen, Reading(at(90), HORIZON), COUNTRY, active=True) is not None) is stale
    assert person_believable_at(writes, seen, Reading(at(181), HORIZON), COUNTRY, active=True) is None


def test_each_join_and_leave_is_a_separate_fact() -> None:
    writes = [
        Write(membership("a"), before=False, after=True, announced_at=at(0), answered_at=at(0)),
        Write(membership("b"), before=True, after=False, announced_at=at(1), answered_at=at(1)),
    ]
    reading = Reading(at(10), HORIZON)
    assert family_believable_at(writes, FamilyValues("Smith", frozenset("a")), reading) is None
    assert family_believable_at(writes, FamilyValues("Smith", frozenset("ab")), reading) == at(121)
    assert family_believable_at(writes, FamilyValues("Smith", frozenset()), reading) == at(120)


def test_a_404_for_a_recently_created_person_is_inconclusive() -> None:
    writes = [Write("created", None, None, at(0), at(0))]
    assert made_lately(writes, Reading(at(100), HORIZON)) == at(120)
    assert made_lately(writes, Reading(at(121), HORIZON)) is None


def values_of(fields: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The values that a decision is bound to."""
    return [(one["field"], one["base"], one["ours"], one["theirs"]) for one in fields]


@dataclass
class World:
    """Two sides and the engine between them, on its own pure functions; it stores what the engine stores, when it does.

    Two writers, a run and a sync of one record, have one mirror of what was read last, and read once more right before
    they write. The vendor shows our own writes late: every field by a lag of its own, another in every read. Edits of
    the church show at once: what is overwritten while they do not is the documented window.
    """

    ours: PersonValues
    there: list[tuple[datetime, PersonValues]]
    policy: MergePolicy
    now: datetime = START
    link: Link = field(
        default_factory=lambda: Link(kind=MEMBER, agreed={}, agreed_at={}, kept_different={}, decided={})
    )
    mirror: tuple[PersonValues, datetime] | None = None
    writes: list[Write] = field(default_factory=list)
    edited_at: dict[str, datetime] = field(default_factory=dict)
    typed: dict[str, dict[str, Value]] = field(default_factory=lambda: {"here": {}, "there": {}})
    common: dict[str, tuple[Value, datetime]] = field(default_factory=dict)
    """The value that both sides were last known to have, and when that was."""
    overwritten: list[str] = field(default_factory=list)
    conflict: list[dict[str, Any]] = field(default_factory=list)
    """What the sides differ in, as kept by the engine."""
    screen: list[dict[str, Any]] = field(default_factory=list)
    """The conflict that somebody looks at: it may be over by now."""
    chosen: dict[str, Value] = field(default_factory=dict)
    """What a decision gave both sides, and nobody has typed over since."""
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
            return  # the answer was lost, and no read followed: unknown whether the write arrived
        else:
            self.put_there(name, value)
            self.edited_at[name] = self.now
        self.typed[side][name] = value
        self.chosen.pop(name, None)
        if name in self.common and same(name, value, self.common[name][0], COUNTRY):
            del self.typed[side][name]

    def seen(self, lags: dict[str, float]) -> PersonValues:
        shown: dict[str, Any] = {}
        for name in FIELDS:
            instant = self.now - timedelta(seconds=lags.get(name, 0.0))
            instant = max(instant, self.edited_at.get(name, instant))
            values = [values for when, values in self.there if when <= instant] or [self.there[0][1]]
            shown[name] = getattr(values[-1], name)
        return PersonValues(**shown)

    def sync(self, lags: dict[str, float], fates: dict[str, str]) -> None:
        """Sync one record from its read to its write, without an interruption."""
        self.read(lags)
        self.take_over()
        self.write(lags, fates)

    def read(self, lags: dict[str, float]) -> None:
        self.mirror = self.seen(lags), self.now

    def take_over(self) -> None:
        """Take over the mirror's read, whenever and by whichever job it was made."""
        if self.mirror is not None:
            self.decided(*self.mirror)

    def decided(self, seen: PersonValues, read_at: datetime) -> Merge | None:
        """Decide about a read, and take it over here."""
        if self.unbelievable(seen, read_at):
            return None
        base = base_of(self.link, self.writes, seen, COUNTRY)
        result = merge(base, self.ours, seen, self.policy, member_differences(self.link, seen))
        self.conflict = fields_of(self.link, result.conflicts)
        for name in FIELDS:
            if same(name, getattr(self.ours, name), getattr(seen, name), COUNTRY):
                self.settle(name, getattr(seen, name))
        for name, value in result.to_ours.items():
            assert self.was_there(name, value), "an old value came back"
            self.note("here", name, result, getattr(self.ours, name))
            self.ours = replace(self.ours, **{name: value})
            self.settle(name, value)
        agree(self.link, to_json(base | dict(result.agreed) | dict(result.to_ours)), self.now)
        self.settle_writes(read_at)
        return result

    def decide(self, choices: dict[str, Choice], lags: dict[str, float], fates: dict[str, str]) -> None:
        """Decide the shown conflict, and sync the record."""
        screen, self.screen = self.screen, []
        self.read(lags)
        assert self.mirror is not None
        seen, read_at = self.mirror
        if screen and not self.unbelievable(seen, read_at):
            base = base_of(self.link, self.writes, seen, COUNTRY)
            found = merge(base, self.ours, seen, self.policy, member_differences(self.link, seen)).conflicts
            if values_of(fields_of(self.link, found)) == values_of(screen):
                self.carry_out(screen, {one["field"]: choices.get(one["field"], "ours") for one in screen})
        self.take_over()
        self.write(lags, fates)

    def carry_out(self, screen: list[dict[str, Any]], choices: dict[str, Choice]) -> None:
        """Carry out the decision as `usecases.record.decided` does."""
        settled = settle(screen, choices, agreed=self.link.agreed, kept=self.link.decided, note={})
        agree(self.link, settled.agreed, self.now)
        self.link.decided = settled.kept
        shown = {one["field"]: value_from_json(one["field"], one["ours"]) for one in screen}
        for name, value in settled.taken.items():
            if not same(name, getattr(self.ours, name), shown[name], COUNTRY):
                self.overwritten.append(name)
            self.ours = replace(self.ours, **{name: value_from_json(name, value)})  # type: ignore[arg-type]
        for one in screen:
            name = one["field"]
            if choices[name] == "both":
                continue
            self.chosen[name] = value_from_json(name, one[choices[name]])
            for side, value in (("here", one["ours"]), ("there", one["theirs"])):
                # The decision saw both the losing and the winning value.
                typed = self.typed[side]
                if name in typed and same(name, typed[name], value_from_json(name, value), COUNTRY):
                    del typed[name]

    def unbelievable(self, seen: PersonValues, read_at: datetime) -> bool:
        stale = person_believable_at(self.writes, seen, Reading(read_at, HORIZON), COUNTRY, active=True)
        return stale is not None or agreed_since(self.link, seen, read_at, COUNTRY)

    def settle_writes(self, read_at: datetime) -> None:
        self.writes = [
            write if write.answered_at else replace(write, answered_at=write.announced_at)
            for write in Reading(read_at, HORIZON).recent(self.writes)
        ]

    def write(self, lags: dict[str, float], fates: dict[str, str]) -> None:
        """Write as the engine does: read, decide again, announce, send."""
        result = self.decided(self.seen(lags), self.now)
        if result is None:
            return
        sent = {name: value_to_json(value) for name, value in result.to_theirs.items()}
        for name, after in sent.items():
            self.writes.append(Write(name, value_to_json(result.replaced[name]), after, self.now))
        for name, value in result.to_theirs.items():
            self.send(name, value, result, fates.get(name, "fine"))

    def send(self, name: str, value: Value, result: Merge, fate: str) -> None:
        assert same(name, result.replaced[name], getattr(self.theirs, name), COUNTRY), "decided on a stale value"
        self.sent += 1
        if fate == "refused":
            # A definite 4xx withdraws the announcement.
            self.writes = [one for one in self.writes if one.answered_at or one.field != name]
            return
        if fate == "lost":
            return
        self.note("there", name, result, getattr(self.theirs, name))
        self.put_there(name, value)
        self.settle(name, value)
        if fate == "fine":
            self.writes = [
                one if one.answered_at or one.field != name else replace(one, answered_at=self.now)
                for one in self.writes
            ]
            agree(self.link, {**self.link.agreed, name: value_to_json(value)}, self.now)

    def step(self, kind: str, what: Any, more: Any) -> None:
        """One step of a history."""
        acts: dict[str, Callable[[], None]] = {
            "wait": lambda: self.wait(what),
            "sync": lambda: self.sync(what, more),
            "run reads": lambda: self.read(what),
            "run takes over": self.take_over,
            "run writes": lambda: self.run_writes(what, more),
            "written": lambda: self.written(what),
            "look": self.look,
            "decide": lambda: self.decide(what, *more),
            "disagree": lambda: self.disagree(what[0], what[1], more),
            "too late": lambda: self.disagree(what[0], what[1], more, since=what[2]),
        }
        acts.get(kind, lambda: self.edit(kind, *what))()

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def run_writes(self, lags: dict[str, float], fates: dict[str, str]) -> None:
        """A run takes over before it writes, and the next one reads before it takes over."""
        self.take_over()
        self.write(lags, fates)
        self.mirror = None

    def written(self, edit: tuple[str, Value]) -> None:
        self.edit("here", *edit)
        self.sync({}, {})

    def look(self) -> None:
        self.screen = list(self.conflict)

    def disagree(
        self,
        ours: tuple[str, Value],
        theirs: tuple[str, Value],
        choices: dict[str, Choice],
        since: tuple[str, tuple[str, Value]] | None = None,
    ) -> None:
        """Make a conflict. `since`: edits of a side while the conflict is shown."""
        self.edit("here", *ours)
        self.edit("there", *theirs)
        self.sync({}, {})
        self.look()
        if since is not None:
            self.edit(since[0], *since[1])
        self.decide(choices, {}, {})

    def was_there(self, name: str, value: Value) -> bool:
        """Whether Planning Center has had this value since both sides were last known to be equal."""
        since = self.common[name][1] if name in self.common else self.there[0][0]
        before = [values for when, values in self.there if when <= since][-1:]
        values = before + [values for when, values in self.there if when > since]
        return any(same(name, getattr(one, name), value, COUNTRY) for one in values)

    def settle(self, name: str, value: Value) -> None:
        self.common[name] = value, self.now
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
answers: st.SearchStrategy[dict[str, Choice]] = st.fixed_dictionaries(
    {name: st.sampled_from(["ours", "theirs", "both"]) for name in VALUES}
)
steps = st.lists(
    st.one_of(
        *[st.tuples(st.just("written"), edits, st.none())] * 3,
        st.tuples(st.just("here"), edits, st.none()),
        st.tuples(st.just("there"), edits, st.none()),
        st.tuples(st.just("sync"), lags, fates),
        st.tuples(st.just("run reads"), lags, st.none()),
        st.tuples(st.just("run takes over"), st.none(), st.none()),
        st.tuples(st.just("run writes"), lags, fates),
        st.tuples(st.just("wait"), st.floats(0.1, 150), st.none()),
        st.tuples(st.just("look"), st.none(), st.none()),
        st.tuples(st.just("decide"), answers, st.tuples(lags, fates)),
        # Both sides at once, so that a conflict exists and stays.
        st.tuples(st.just("disagree"), st.tuples(edits, edits), answers),
        st.tuples(
            st.just("too late"),
            st.tuples(edits, edits, st.tuples(st.sampled_from(["here", "there"]), edits)),
            answers,
        ),
    ),
    min_size=4,
    max_size=24,
)
EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", "400"))


@settings(max_examples=EXAMPLES, deadline=None)
@given(steps, st.booleans())
@example(
    # The read at the write's instant is taken over after the write's horizon.
    history=[
        ("written", ("phone", None), None),
        ("wait", 119.0, None),
        ("run writes", {"phone": 0.0, "last_name": 0.0}, {}),
    ],
    merge_different_fields=False,
)
def test_histories_with_lag_overwrite_nothing_and_converge(
    history: list[tuple[str, Any, Any]], merge_different_fields: bool
) -> None:
    """The steps of a run, with single syncs of the record between them; only one writes at a time."""
    policy = MergePolicy(merge_different_fields=merge_different_fields, country=COUNTRY)
    world = World(PERSON, [(START - 2 * HORIZON, PERSON)], policy)
    world.sync({}, {})
    for kind, what, more in history:
        world.now += timedelta(seconds=0.5)
        world.step(kind, what, more)
        assert world.overwritten == []
    for _ in range(4):
        world.now += HORIZON + timedelta(seconds=1)
        world.sync({}, {})
    in_conflict = {one["field"] for one in world.conflict}
    for name in FIELDS:
        equal = same(name, getattr(world.ours, name), getattr(world.theirs, name), COUNTRY)
        assert equal or name in in_conflict or name in world.link.decided, name
        if name in world.chosen and name not in in_conflict:
            assert same(name, getattr(world.ours, name), world.chosen[name], COUNTRY), "a decision was lost"
    before, agreed = world.sent, as_dict(world.ours)
    world.now += HORIZON + timedelta(seconds=1)
    world.sync({}, {})
    assert (world.sent, as_dict(world.ours)) == (before, agreed)
    assert world.overwritten == []
