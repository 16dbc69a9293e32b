"""A bulk answer to conflicts: bound to what was shown, each result told."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from conflict_church import Church
from conflict_support import START, fact
from fastapi import FastAPI

from conflict_service.usecases import bulk
from conflict_service.usecases.decide import take
from contracts.events.people_conflict_v1 import (
    ConflictConverged,
    ConflictDetected,
    ConflictFact,
    ConflictWithdrawn,
    ResolutionApplied,
    ResolutionOvertaken,
)
from contracts.values import CONFLICT_SERVICE
from servicekit.errors import TransientError
from servicekit.testing import KeyRing

PATH = "/api/v1/conflicts"


async def test_exactly_the_shown_conflicts_are_decided(ada: Church) -> None:
    """Later conflicts are not; changed, decided and ended ones are named."""
    ids = await ada.conflicts(14)
    shown = await ada.show("theirs")
    assert (shown["count"], shown["left_out"], len(shown["samples"])) == (14, 0, 10)
    assert shown["samples"][0]["conflict"]["id"] == "c013"
    assert shown["samples"][0]["choices"] == {"first_name": "theirs"}
    values: dict[str, Any] = {"organization_id": ada.id}
    await ada.tell(
        fact(ConflictDetected, 1, conflict_id="later", **values),
        fact(ConflictDetected, 2, conflict_id="c001", ours="Hanna", values_version=2, **values),
        fact(ConflictDetected, 2, conflict_id="c002", family_ids=("f",), **values),
        fact(ConflictConverged, 2, conflict_id="c003", **values),
    )
    await ada.call("POST", "/c004/decision", {"values_version": 1, "choices": {"first_name": "ours"}}, status=202)
    ended = await ada.agree(shown)
    assert (ended["done"], ended["skipped"], ended["waiting"], ended["applied"]) == (14, 3, 11, 0)
    skipped = (await ada.call("GET", f"/bulk/{shown['id']}/skipped"))["items"]
    assert {one["conflict_id"]: one["sentence"] for one in skipped} == {
        "c001": "A value changed since it was shown.",
        "c003": "It was over before its turn: nothing was left to decide.",
        "c004": "Somebody decided it since it was shown.",
    }
    assert {one["name"] for one in skipped} == {"Anna Berg"}
    lines = await ada.file(f"/bulk/{shown['id']}/skipped.csv")
    assert [(one["Id"], one["Name"], one["Why"]) for one in lines] == [
        (one["conflict_id"], one["name"], one["sentence"]) for one in skipped
    ]
    await ada.file("/bulk/none/skipped.csv", 404)
    for path in (f"/bulk/{shown['id']}/skipped.csv?limit=1", "/rules.csv?limit=1", ".csv?limit=1", ".csv?after=x"):
        await ada.file(path, 422)
    # Renaming a family changes no value.
    assert (await ada.call("GET", "/c002"))["decision"]["choices"] == {"first_name": "theirs"}
    assert (await ada.call("GET", "/count")) == {"open": 2}
    assert {one["id"] for one in (await ada.call("GET", ""))["items"]} == {"later", "c001"}
    assert len(ids) == 14


async def test_each_result_is_reported(ada: Church) -> None:
    await ada.conflicts(4)
    shown = await ada.show("ours")
    await ada.agree(shown)
    decisions = {
        one["id"]: one["decision"]["id"]
        for one in (await ada.call("GET", "", state="resolving", bulk_id=shown["id"]))["items"]
    }
    assert len(decisions) == 4
    values: dict[str, Any] = {"organization_id": ada.id}
    answers = [
        fact(ResolutionApplied, 2, conflict_id="c000", **values),
        fact(ResolutionApplied, 2, conflict_id="c001", **values).model_copy(update={"refused": ("No.",)}),
        fact(ResolutionOvertaken, 2, conflict_id="c002", ours="Hanna", values_version=2, **values),
    ]
    await ada.tell(*(one.model_copy(update={"decision_id": decisions[one.conflict_id]}) for one in answers))
    ended = await ada.call("GET", f"/bulk/{shown['id']}")
    assert (ended["applied"], ended["overtaken"], ended["refused"], ended["waiting"]) == (2, 1, 1, 1)
    listed = {
        state: [one["id"] for one in (await ada.call("GET", "", state=state, bulk_id=shown["id"]))["items"]]
        for state in ("resolved", "open", "resolving")
    }
    assert {state: sorted(ids) for state, ids in listed.items()} == {
        "resolved": ["c000", "c001"],
        "open": ["c002"],
        "resolving": ["c003"],
    }
    # A conflict that ended before its turn does not count as settled.
    await ada.tell(fact(ConflictWithdrawn, 2, conflict_id="c003", **values))
    ended = await ada.call("GET", f"/bulk/{shown['id']}")
    assert (ended["applied"], ended["not_needed"], ended["waiting"]) == (2, 1, 0)


async def test_another_process_continues_after_a_crash(ada: Church, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is decided as a whole or not at all: each conflict is decided exactly once."""
    await ada.conflicts(5)
    monkeypatch.setattr(bulk, "BATCH", 2)
    taken: list[str] = []

    async def take_or_die(session: Any, organization_id: str, conflict_id: str, *rest: Any) -> Any:
        row = await take(session, organization_id, conflict_id, *rest)
        taken.append(conflict_id)
        if len(taken) == 4:
            raise TransientError("the second batch, after its last decision")
        return row

    monkeypatch.setattr(bulk, "take", take_or_die)
    ended = await ada.agree(await ada.show("theirs"))
    assert (ended["done"], ended["skipped"], ended["waiting"]) == (5, 0, 5)
    # The two of the lost batch, once more.
    assert len(taken) == 7
    decided = (await ada.call("GET", "", state="resolving", bulk_id=ended["id"]))["items"]
    assert len({one["decision"]["id"] for one in decided}) == 5


async def test_filters_and_left_out_conflicts(ada: Church) -> None:
    values: dict[str, Any] = {"organization_id": ada.id}
    phone = fact(ConflictDetected, 1, conflict_id="phone", family_ids=("f1",), **values)
    (name,) = phone.fields
    empty = name.model_copy(update={"field": "phone", "ours": None})
    child = phone.record.model_copy(update={"child": True})
    await ada.tell(
        phone.model_copy(update={"fields": (empty,), "record": child}),
        fact(ConflictDetected, 1, conflict_id="name", **values),
        fact(ConflictDetected, 1, conflict_id="both", **values).model_copy(update={"fields": (name, empty)}),
    )

    async def fitting(**filters: Any) -> tuple[int, int]:
        shown = await ada.show("theirs", **filters)
        listed = await ada.call("GET", "", **filters)
        assert listed["total"] == shown["count"] + shown["left_out"]
        return shown["count"], shown["left_out"]

    assert await fitting() == (3, 0)
    # The conflict with two fields has contradicting names too.
    assert await fitting(field="phone") == (1, 1)
    assert await fitting(family_id="f1") == (1, 0)
    assert await fitting(child=True) == (1, 0)
    assert await fitting(child=False) == (0, 0)
    assert await fitting(one_side_empty=True) == (2, 0)
    assert await fitting(older_than_days=36_500) == (0, 0)
    filled = await ada.show("filled")
    assert (filled["count"], filled["left_out"]) == (1, 2)
    assert filled["samples"][0]["choices"] == {"phone": "theirs"}


async def test_the_newer_side(ada: Church) -> None:
    """By the times of the edits, also if these arrive later; they change neither values nor the shown set."""
    values: dict[str, Any] = {"organization_id": ada.id}

    def told(conflict_id: str, version: int, **times: int) -> ConflictFact:
        one = fact(ConflictDetected, version, conflict_id=conflict_id, **values)
        edited = {name: START + timedelta(minutes=minutes) for name, minutes in times.items()}
        return one.model_copy(update={"fields": (one.fields[0].model_copy(update=edited),)})

    async def fitting(newer: str) -> set[str]:
        listed = await ada.call("GET", "", newer=newer)
        shown = await ada.show("theirs", newer=newer)
        ids = {one["id"] for one in listed["items"]}
        assert {one["conflict"]["id"] for one in shown["samples"]} == ids
        assert (listed["total"], shown["count"], shown["left_out"]) == (len(ids), len(ids), 0)
        return ids

    await ada.tell(
        told("here", 1, ours_changed_at=2, theirs_changed_at=1),
        told("there", 1, ours_changed_at=1, theirs_changed_at=2),
        told("by", 1, ours_changed_at=1, theirs_changed_before=2),
        told("unknown", 1),
    )
    assert (await fitting("ours"), await fitting("theirs")) == ({"here"}, {"there"})
    await ada.call("GET", "", newer="neither", status=422)
    shown = await ada.show("ours", newer="ours")
    other = await ada.show("ours", newer="theirs")
    assert shown["digest"] != other["digest"]
    await ada.call("POST", f"/bulk/{other['id']}/answer", {"digest": shown["digest"]}, status=409)
    await ada.call("POST", "/there/decision", {"values_version": 1, "choices": {"first_name": "ours"}}, status=202)
    await ada.tell(
        told("here", 2, ours_changed_at=2, theirs_changed_at=3),
        told("there", 2, ours_changed_at=4, theirs_changed_at=2),
        told("unknown", 2, ours_changed_at=2, theirs_changed_before=1),
    )
    assert (await fitting("ours"), await fitting("theirs")) == ({"unknown"}, {"here"})
    waiting = await ada.call("GET", "/there")
    assert (waiting["state"], waiting["values_version"], waiting["decision"]["outcome"]) == ("resolving", 1, "waiting")
    assert waiting["fields"][0]["ours_changed_at"] == "2026-01-05T12:04:00Z"
    ended = await ada.agree(shown)
    assert (ended["done"], ended["skipped"], ended["waiting"]) == (1, 0, 1)


async def test_conflicts_beyond_the_limit_are_left_out(ada: Church, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST", 3)
    await ada.conflicts(5)
    shown = await ada.show("ours")
    assert (shown["count"], shown["left_out"]) == (3, 2)
    assert (await ada.agree(shown))["waiting"] == 3
    assert (await ada.show("ours"))["count"] == 2


async def test_impossible_answers_are_refused(
    ada: Church, app: FastAPI, client: httpx.AsyncClient, keys: KeyRing
) -> None:
    await ada.conflicts(2)
    shown = await ada.show("ours")
    path = f"/bulk/{shown['id']}"
    wrong = await ada.call("POST", f"{path}/answer", {"digest": "another"}, status=409)
    assert wrong["type"].endswith("/not-shown")
    nothing = await ada.show("ours", family_id="nobody")
    empty = await ada.call("POST", f"/bulk/{nothing['id']}/answer", {"digest": nothing["digest"]}, status=409)
    assert empty["type"].endswith("/nothing-shown")
    other = Church(app, client, keys, f"{ada.id}-other")
    await other.call("GET", path, status=404)
    await other.call("POST", f"{path}/answer", {"digest": shown["digest"]}, status=404)
    await other.call("GET", f"{path}/skipped", status=404)
    other.headers = keys.user_headers(CONFLICT_SERVICE, organization_id=ada.id, roles=("staff",))
    await other.call("POST", "/bulk", {"answer": "ours"}, status=403)
    await other.call("POST", f"{path}/answer", {"digest": shown["digest"]}, status=403)
    await ada.call("POST", "/bulk", {"answer": "newest"}, status=422)
    await ada.call("GET", f"{path}/skipped", after="x", status=422)
    assert (await ada.call("GET", path))["state"] == "shown"
    assert (await ada.agree(shown))["waiting"] == 2
    # Idempotent.
    again = await ada.call("POST", f"{path}/answer", {"digest": shown["digest"]}, status=202)
    assert (again["state"], again["done"]) == ("done", 2)
