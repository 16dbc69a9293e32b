"""Rules of an undo: edits made since stay, and undoing an undo restores the state before."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from people_sync.domain.undo import Back, Standing, Undo, Was, same_as_shown, undo_of

KEYS = ("phone", "email", "last_name", "birthdate")
VALUES = st.sampled_from(["a", "b", "c", None])


def was(id_: int, field_: str, before: Any, after: Any, *, mine: bool = True, side: str = "here", **more: Any) -> Was:
    return Was(id_, side, field_, before, after, mine, **more)


def backs(undo: Undo) -> dict[str, Any]:
    return {one.key: one.after for one in undo.backs}


@dataclass
class Record:
    """A member whose fields are changed by one cause after another."""

    values: dict[str, Any]
    effects: list[tuple[str, Was]] = field(default_factory=list)

    def change(self, cause: str, key: str, value: Any, side: str = "here", rule: str | None = "changed") -> None:
        one = Was(len(self.effects), side, key, self.values[key], value, False, cause, rule)
        self.effects.append((cause, one))
        self.values[key] = value

    def undo(self, scope: str, *, by: str) -> Undo:
        effects = [replace(one, of_scope=cause == scope) for cause, one in self.effects]
        found = undo_of("member", effects, Standing(dict(self.values), linked_to="1"))
        for back in found.backs:
            assert self.values[back.key] == back.here
            # The push sends Planning Center the same.
            self.change(by, back.key, back.after)
            one = Was(len(self.effects), "there", back.key, back.here, back.after, False, by, None)
            self.effects.append((by, one))
        return found


HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(["run", "edit", "other run"]), st.sampled_from(KEYS), VALUES, st.sampled_from(["here", "there"])
    ),
    max_size=14,
)


def lived(history: list[tuple[str, str, Any, str]]) -> Record:
    record = Record(dict.fromkeys(KEYS, "a"))
    for cause, key, value, side in history:
        if key == "last_name" and value is None:
            continue  # a name is never emptied
        record.change(cause, key, value, "here" if cause == "edit" else side)
    return record


@given(HISTORIES)
def test_values_edited_since_are_never_put_back(history: list[tuple[str, str, Any, str]]) -> None:
    record = lived(history)
    before = dict(record.values)
    known = list(record.effects)
    found = record.undo("run", by="undo")
    for key in KEYS:
        of_key = [(cause, one) for cause, one in known if one.field == key and one.moves]
        mine = [at for at, (cause, _) in enumerate(of_key) if cause == "run"]
        since = [cause for cause, _ in of_key[mine[0] :]] if mine else []
        if key in backs(found):
            assert set(since) == {"run"}, "somebody else has touched it since"
        else:
            assert record.values[key] == before[key]
            assert not mine or key in found.left


@given(HISTORIES)
def test_an_undone_undo_is_the_state_before(history: list[tuple[str, str, Any, str]]) -> None:
    record = lived(history)
    before = dict(record.values)
    record.undo("run", by="undo")
    put_back = dict(record.values)
    # Idempotent.
    assert not record.undo("run", by="undo again").backs
    assert record.values == put_back
    record.undo("undo", by="undo of the undo")
    assert record.values == before


@given(HISTORIES, st.data())
def test_only_the_shown_plan_is_carried_out(history: list[tuple[str, str, Any, str]], data: st.DataObject) -> None:
    record = lived(history)
    effects = [replace(one, of_scope=cause == "run") for cause, one in record.effects]
    shown = undo_of("member", effects, Standing(dict(record.values), linked_to="1")).backs
    moved = data.draw(st.sets(st.sampled_from(KEYS)))
    for key in moved:
        record.change("edit", key, "edited")
    effects = [replace(one, of_scope=cause == "run") for cause, one in record.effects]
    still, gone = same_as_shown(shown, undo_of("member", effects, Standing(dict(record.values), linked_to="1")))
    assert {one.key for one in still} == {one.key for one in shown} - moved
    assert set(gone) == {one.key for one in shown} & moved


ADDED = was(1, "created", None, "77")


@pytest.mark.parametrize(
    ("effects", "now", "whole"),
    [
        pytest.param([ADDED], Standing({}), "delete", id="untouched"),
        pytest.param([ADDED, was(2, "phone", "a", "b", mine=False)], Standing({}), None, id="edited here"),
        pytest.param([ADDED, was(2, "phone", "a", "b", mine=False, side="there")], Standing({}), None, id="or there"),
        pytest.param([ADDED], Standing({}, supplied=True), None, id="the platform knows them"),
        pytest.param([ADDED], Standing({}, homes_stay=True), None, id="in a family that stays"),
        pytest.param([ADDED], Standing({}, deleted=True), None, id="deleted already"),
        pytest.param([was(1, "deleted", False, True)], Standing({}, deleted=True, linked_to="1"), "restore", id="back"),
        pytest.param([was(1, "deleted", False, True)], Standing({}, deleted=True), None, id="the place is taken"),
        pytest.param([was(1, "deleted", False, True)], Standing({}, linked_to="1"), None, id="back already"),
        pytest.param([was(1, "deleted", True, False)], Standing({}, linked_to="1"), "delete", id="and away again"),
    ],
)
def test_a_record_is_deleted_or_restored_as_a_whole(effects: list[Was], now: Standing, whole: str | None) -> None:
    found = undo_of("member", effects, now)
    assert found.whole == whole
    assert whole or found.left, "why not is said"


def test_an_added_record_that_stays_gets_later_syncs_undone() -> None:
    effects = [
        was(1, "created", None, "77", cause="run:1"),
        was(2, "last_name", "A", "B", cause="run:2"),
        was(3, "phone", "1", "2", mine=False, cause="edit:1"),
    ]
    found = undo_of("member", effects, Standing({"last_name": "B", "phone": "2"}))
    assert (found.whole, backs(found)) == (None, {"last_name": "A"})
    assert found.left == {"deleted": "A sync added the record here, and it stays."}
    homely = undo_of("member", effects[:2], Standing({"last_name": "B"}, homes_stay=True))
    assert (homely.whole, backs(homely)) == (None, {"last_name": "A"})


def test_a_family_that_was_added_and_edited_keeps_everybody() -> None:
    """Otherwise an edit of its name would make the undo remove its people, here and there."""
    effects = [ADDED, was(2, "members", None, "m1"), was(3, "name", "A", "B", mine=False)]
    found = undo_of("family", effects, Standing({"name": "B", "member:m1": True}))
    assert not found.anything


def test_a_person_added_there_keeps_the_sent_values() -> None:
    made = was(1, "created", None, "77", side="there", cause="run:1")
    sent = was(2, "email", None, "n@example.org", side="there", cause="run:1")
    found = undo_of("member", [made, sent], Standing({"email": "n@example.org"}, linked_to="77"))
    assert (found.made_there, found.backs) == (True, ())
    other = undo_of("member", [made, sent], Standing({"email": "n@example.org"}, linked_to="78"))
    assert not other.made_there
    assert other.left


@pytest.mark.parametrize(
    ("effects", "emptied"),
    [
        pytest.param([was(2, "phone", None, "1", rule="filled")], False, id="filled here"),
        pytest.param([was(2, "phone", None, "1", side="there")], False, id="filled there"),
        pytest.param([was(2, "phone", None, "1", rule="changed")], True, id="added there, taken over here"),
        pytest.param(
            [was(1, "phone", None, "1", mine=False), was(2, "phone", None, "1", side="there")], True, id="typed, sent"
        ),
        pytest.param(
            [was(1, "planning_center_id", None, "7"), was(2, "phone", None, "1", rule="changed")], False, id="linked"
        ),
    ],
)
def test_a_filled_empty_side_is_not_emptied_on_the_other(effects: list[Was], *, emptied: bool) -> None:
    found = undo_of("member", effects, Standing({"phone": "1"}, linked_to="7"))
    assert backs(found) == ({"phone": None} if emptied else {})
    assert emptied or "phone" in found.left


def test_a_primary_contact_comes_back_only_with_their_membership() -> None:
    left = was(1, "members", "m1", None)
    contact = was(2, "primary_contact", "m1", "m2")
    now = Standing({"primary_contact": "m2", "member:m2": True}, linked_to="7")
    assert backs(undo_of("family", [left, contact], now)) == {"member:m1": True, "primary_contact": "m1"}
    assert backs(undo_of("family", [contact], now)) == {}
    gone = replace(now, absent=frozenset({"m1"}))
    assert backs(undo_of("family", [left, contact], gone)) == {}


def test_a_name_is_never_emptied() -> None:
    found = undo_of("member", [was(1, "first_name", "", "Ann", rule="first_match")], Standing({"first_name": "Ann"}))
    assert (found.backs, list(found.left)) == ((), ["first_name"])


def test_a_value_already_as_before_is_left() -> None:
    effects = [was(1, "phone", "a", "b"), was(2, "phone", "b", "a", mine=False)]
    found = undo_of("member", effects, Standing({"phone": "a"}, linked_to="7"))
    assert (found.backs, "already" in found.left["phone"]) == ((), True)
    assert Back("phone", "b", "a") not in found.backs


def test_the_first_replaced_value_comes_back() -> None:
    effects = [was(1, "phone", "a", "b"), was(2, "phone", "b", "c", side="there"), was(3, "phone", "b", "c")]
    assert backs(undo_of("member", effects, Standing({"phone": "c"}, linked_to="7"))) == {"phone": "a"}


def test_a_value_without_an_effect_stays() -> None:
    found = undo_of("member", [was(1, "phone", "a", "b")], Standing({"phone": "c"}, linked_to="7"))
    assert (found.backs, list(found.left)) == ((), ["phone"])


@pytest.mark.parametrize("rule", ["kept_different", "decide_again"])
@pytest.mark.parametrize("mine", [False, True])
def test_a_difference_kept_since_is_left(rule: str, *, mine: bool) -> None:
    """Such a decision changes no value, and applies to the shown ones."""
    decided = was(2, "phone", "2", "2", mine=mine, rule=rule)
    found = undo_of("member", [was(1, "phone", "1", "2"), decided], Standing({"phone": "2"}, linked_to="7"))
    assert (found.backs, list(found.left)) == ((), ["phone"])
    before = replace(decided, id=0, of_scope=False)
    other = replace(decided, field="email")
    found = undo_of("member", [before, was(1, "phone", "1", "2"), other], Standing({"phone": "2"}, linked_to="7"))
    assert backs(found) == {"phone": "1"}


def test_a_value_other_than_shown_is_not_replaced() -> None:
    shown = [Back("phone", "b", "a"), Back("email", "b", "a")]
    found = Undo(backs=(Back("phone", "c", "a"), Back("email", "b", "a")))
    assert same_as_shown(shown, found) == ([Back("email", "b", "a")], ["phone"])
