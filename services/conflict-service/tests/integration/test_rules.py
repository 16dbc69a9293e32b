"""Rules learned from answers: offered, shown, turned on and off, and never deciding a person's conflicts."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from conflict_church import Church
from conflict_support import START, fact, told_decisions
from fastapi import FastAPI
from sqlalchemy import text

from conflict_service.storage import rules as stored
from conflict_service.usecases import bulk, rules
from conflict_service.usecases.decide import take
from contracts.events.people_conflict_v1 import (
    ConflictConverged,
    ConflictDetected,
    ConflictFact,
    ConflictWithdrawn,
    ResolutionApplied,
    ResolutionOvertaken,
)
from contracts.values import CONFLICT_SERVICE, PEOPLE_SYNC
from servicekit.errors import TransientError
from servicekit.testing import KeyRing, eventually
from servicekit.testing.facts import publish

PHONE: dict[str, Any] = {"fields": ["phone"], "answer": "theirs"}


def phone(church: Church, conflict_id: str, version: int = 1, *, days: int = 400, **more: Any) -> ConflictFact:
    """A conflict about a phone; ours was edited `days` ago."""
    found = fact(ConflictDetected, version, organization_id=church.id, conflict_id=conflict_id, **more)
    (field,) = found.fields
    now = datetime.now(UTC)
    phone = field.model_copy(update={"field": "phone", "ours_changed_at": now - timedelta(days=days)})
    return found.model_copy(update={"fields": (phone,), "occurred_at": now + (found.occurred_at - START)})


async def answer(church: Church, conflict_id: str, choice: str = "theirs", field: str = "phone") -> dict[str, Any]:
    """Decide one conflict as a person."""
    version = (await church.call("GET", f"/{conflict_id}"))["values_version"]
    body = {"values_version": version, "choices": {field: choice}}
    found: dict[str, Any] = await church.call("POST", f"/{conflict_id}/decision", body, status=202)
    return found


async def answer_many(church: Church, ids: list[str], choice: str = "theirs", **more: Any) -> None:
    for conflict_id in ids:
        await church.tell(phone(church, conflict_id, **more))
        await answer(church, conflict_id, choice)


async def offers(church: Church) -> list[dict[str, Any]]:
    return list((await church.call("GET", "/rules/offers"))["items"])


async def show(church: Church, **condition: Any) -> dict[str, Any]:
    found: dict[str, Any] = await church.call("POST", "/rules/preview", PHONE | condition)
    return found


async def turn_on(church: Church, **condition: Any) -> dict[str, Any]:
    """Show a rule, turn it on, and wait until the open conflicts are decided."""
    shown = await show(church, **condition)
    rule: dict[str, Any] = await church.call(
        "POST", "/rules", shown["condition"] | {"digest": shown["digest"]}, status=201
    )
    if shown["count"]:
        await ended(church, rule)
    return rule


async def ended(church: Church, rule: dict[str, Any]) -> dict[str, Any]:
    """The bulk answer to the conflicts that were open when the rule was turned on."""

    async def done() -> dict[str, Any] | None:
        found: dict[str, Any] = await church.call("GET", f"/bulk/{rule['bulk_id']}")
        return found if found["state"] == "done" else None

    found: dict[str, Any] = await eventually(done)
    return found


async def state(church: Church, conflict_id: str) -> tuple[str, str | None, str | None]:
    """A conflict's state, the author of the last decision, and its rule."""
    found = await church.call("GET", f"/{conflict_id}")
    decision = found["decision"] or {"decided_by_name": None, "rule_id": None}
    return found["state"], decision["decided_by_name"], decision["rule_id"]


async def decisions(app: FastAPI, church: Church, conflict_id: str) -> int:
    async with app.state.runtime.sessions() as session:
        statement = text("SELECT count(*) FROM decision WHERE organization_id = :church AND conflict_id = :conflict")
        return int(await session.scalar(statement, {"church": church.id, "conflict": conflict_id}))


OPEN = ("open", None, None)
NAME = "For phones, Planning Center is right"


# --- learned ----------------------------------------------------------------------------------------------------------


async def test_five_equal_answers_offer_a_rule(ada: Church) -> None:
    await answer_many(ada, ["c1", "c2", "c3", "c4"])
    assert await offers(ada) == []
    await answer_many(ada, ["c5"], days=370)
    (offer,) = await offers(ada)
    assert offer["name"] == f"{NAME} when ours is older than a year"
    assert offer["condition"] == {**PHONE, "older_than_days": 365, "empty": None, "child": None}
    # With one answer about a younger value, the offer's condition is what all five met.
    await answer_many(ada, ["c6"], days=100)
    assert [one["condition"]["older_than_days"] for one in await offers(ada)] == [90]
    await answer_many(ada, ["c7"], days=3)
    assert [one["name"] for one in await offers(ada)] == [NAME]
    # The opposite answer, more recently.
    await answer_many(ada, ["c8"], "ours")
    assert await offers(ada) == []
    await answer_many(ada, ["c9", "c10", "c11", "c12"])
    assert await offers(ada) == []
    await answer_many(ada, ["c13"])
    assert len(await offers(ada)) == 1


async def test_a_bulk_answer_teaches_nothing_but_can_prevent_an_offer(ada: Church) -> None:
    await ada.tell(*(phone(ada, f"m{number}") for number in range(8)))
    await ada.agree(await ada.show("theirs"))
    assert await offers(ada) == []
    await answer_many(ada, [f"s{number}" for number in range(5)])
    assert len(await offers(ada)) == 1
    await ada.tell(phone(ada, "more"))
    await ada.agree(await ada.show("ours"))
    assert await offers(ada) == []


async def test_a_declined_offer_comes_back_after_five_more(ada: Church) -> None:
    await answer_many(ada, [f"a{number}" for number in range(6)])
    declined = await ada.call("POST", "/rules/offers/decline", {"fields": ["phone"]})
    assert declined["items"] == await offers(ada) == []
    await answer_many(ada, [f"b{number}" for number in range(4)])
    assert await offers(ada) == []
    await answer_many(ada, ["b4"])
    assert len(await offers(ada)) == 1


async def test_undecidable_kinds_are_not_offered(ada: Church) -> None:
    """Edits that contradict nothing; and *keep both different*, which chooses no side."""
    for number in range(5):
        alone = phone(ada, f"alone{number}")
        (field,) = alone.fields
        await ada.tell(alone.model_copy(update={"fields": (field.model_copy(update={"base": field.theirs}),)}))
        await answer(ada, f"alone{number}", "ours")
    await answer_many(ada, [f"both{number}" for number in range(5)], "both")
    assert await offers(ada) == []


def first_match(church: Church, conflict_id: str, version: int = 1) -> ConflictFact:
    """A first match with different phones that nobody has edited."""
    found = phone(church, conflict_id, version)
    (field,) = found.fields
    return found.model_copy(update={"fields": (field.model_copy(update={"base": None, "base_known": False}),)})


async def test_first_matches_teach_nothing_and_are_decided_by_no_rule(ada: Church) -> None:
    for number in range(5):
        await ada.tell(first_match(ada, f"first{number}"))
        await answer(ada, f"first{number}")
    assert await offers(ada) == []
    await answer_many(ada, [f"edited{number}" for number in range(4)])
    assert await offers(ada) == []
    await answer_many(ada, ["edited4"])
    assert len(await offers(ada)) == 1
    # Nor does a first match prevent an offer taught by edits.
    await ada.tell(first_match(ada, "other"))
    await answer(ada, "other", "ours")
    assert len(await offers(ada)) == 1
    await ada.tell(first_match(ada, "open"))
    shown = await show(ada)
    assert (shown["count"], shown["left_out"], shown["past"]["looked_at"]) == (0, 0, 5)
    rule = await turn_on(ada)
    await ada.tell(first_match(ada, "later"), phone(ada, "edited"))
    assert [await state(ada, one) for one in ("open", "later")] == [OPEN, OPEN]
    assert (await state(ada, "edited"))[2] == rule["id"]


# --- shown ------------------------------------------------------------------------------------------------------------


async def test_a_preview_shows_past_and_present_decisions(ada: Church) -> None:
    await answer_many(ada, [f"same{number}" for number in range(12)])
    await answer_many(ada, ["other1", "other2"], "ours")
    await answer_many(ada, ["young"], "ours", days=10)
    await ada.tell(*(phone(ada, f"open{number}") for number in range(11)), phone(ada, "fresh", days=10))
    shown = await show(ada, older_than_days=90)
    past = shown["past"]
    assert (past["looked_at"], past["same"], past["different"]) == (15, 12, 2)
    assert [len(past["same_samples"]), len(past["different_samples"])] == [10, 2]
    assert {one["conflict_id"] for one in past["different_samples"]} == {"other1", "other2"}
    assert past["different_samples"][0]["choices"] == {"phone": "ours"}
    assert past["different_samples"][0]["decided_by_name"] == "Ada"
    assert (shown["count"], shown["left_out"], len(shown["samples"])) == (11, 0, 10)
    assert shown["samples"][0]["choices"] == {"phone": "theirs"}
    # The preview decides nothing.
    assert (await ada.call("GET", "/rules"))["items"] == []
    assert (await ada.call("GET", "/count")) == {"open": 12}


async def test_turning_on_decides_the_shown_conflicts_or_none(ada: Church) -> None:
    await ada.tell(phone(ada, "c1"), phone(ada, "c2"))
    shown = await show(ada)
    body = shown["condition"] | {"digest": shown["digest"]}
    await ada.tell(phone(ada, "c3"))
    refused = await ada.call("POST", "/rules", body, status=409)
    assert refused["type"].endswith("/rule-moved")
    assert (await ada.call("GET", "/rules"))["items"] == []
    await ada.tell(fact(ConflictConverged, 2, organization_id=ada.id, conflict_id="c3"))
    # A changed value changes the digest.
    await ada.tell(phone(ada, "c2", 2, ours="9", values_version=2))
    await ada.call("POST", "/rules", body, status=409)
    # Nor is a digest valid for another rule.
    again = await show(ada)
    await ada.call("POST", "/rules", PHONE | {"answer": "ours", "digest": again["digest"]}, status=409)
    rule = await ada.call("POST", "/rules", PHONE | {"digest": again["digest"]}, status=201)
    assert (rule["name"], rule["on"], rule["made_by_name"]) == (NAME, True, "Ada")
    await ended(ada, rule)
    assert await state(ada, "c1") == ("resolving", NAME, rule["id"])
    assert await state(ada, "c2") == ("resolving", NAME, rule["id"])


async def test_a_difference_kept_by_a_person_is_left_to_a_person(ada: Church) -> None:
    """No rule decides it while the values are the same."""
    first = phone(ada, "c1")
    await ada.tell(first)
    decision = (await answer(ada, "c1", "both"))["decision"]["id"]
    await ada.tell(ResolutionApplied(**(first.model_dump() | {"version": 2, "decision_id": decision})))
    await turn_on(ada)
    await ada.tell(phone(ada, "c2").model_copy(update={"record": first.record}))
    assert await state(ada, "c2") == OPEN
    await ada.tell(fact(ConflictWithdrawn, 2, organization_id=ada.id, conflict_id="c2"))
    await ada.tell(phone(ada, "c3", ours="(212) 555-0100").model_copy(update={"record": first.record}))
    assert (await state(ada, "c3"))[0] == "resolving"


def paused(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Makes bulk answers decide one by one; the first event says that one is being decided, the second lets it
    continue.
    """
    monkeypatch.setattr(bulk, "BATCH", 1)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pause(session: Any, organization_id: str, conflict_id: str, *rest: Any) -> Any:
        row = await take(session, organization_id, conflict_id, *rest)
        reached.set()
        await go_on.wait()
        return row

    monkeypatch.setattr(bulk, "take", pause)
    return reached, go_on


async def test_conflicts_changed_before_their_turn_are_named(ada: Church, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"c{number}" for number in range(6)]
    await ada.tell(*(phone(ada, one, minutes=number) for number, one in enumerate(ids)))
    reached, go_on = paused(monkeypatch)
    shown = await show(ada)
    rule = await ada.call("POST", "/rules", shown["condition"] | {"digest": shown["digest"]}, status=201)
    await reached.wait()
    # c5 is being decided. Meanwhile one changes, one ends, a person decides one, and one decision fails.
    await ada.tell(
        # The rule would decide these new values, but they were edited only here.
        _agreed_there(phone(ada, "c0", 2, ours="8", values_version=2)),
        fact(ConflictConverged, 2, organization_id=ada.id, conflict_id="c1"),
    )
    await answer(ada, "c2", "ours")
    failed = (await answer(ada, "c3", "ours"))["decision"]["id"]
    await ada.tell(_overtaken(phone(ada, "c3"), 2, failed))
    go_on.set()
    told = await ended(ada, rule)
    assert (told["done"], told["skipped"], told["waiting"]) == (6, 4, 2)
    skipped = (await ada.call("GET", f"/bulk/{rule['bulk_id']}/skipped"))["items"]
    assert {one["conflict_id"]: one["sentence"] for one in skipped} == {
        "c0": "A value changed since it was shown.",
        "c1": "It was over before its turn: nothing was left to decide.",
        "c2": "Somebody decided it since it was shown.",
        "c3": "A decision about it could not be carried out since it was shown, so it waits for you.",
    }


async def test_conflicts_that_no_longer_fit_are_named(ada: Church, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child flag and other rules are no values, so neither changes the digest."""
    ages = {"c0": 200, "c1": 200, "c2": 400, "c3": 200}
    for at, (one, days) in enumerate(ages.items()):
        await ada.tell(of_child(phone(ada, one, days=days, minutes=at), False))
    reached, go_on = paused(monkeypatch)
    shown = await show(ada, child=False)
    rule = await ada.call("POST", "/rules", shown["condition"] | {"digest": shown["digest"]}, status=201)
    await reached.wait()
    # c3 is being decided.
    await ada.tell(of_child(phone(ada, "c1", 2, days=200), True))
    await turn_on(ada, answer="ours", older_than_days=365)
    go_on.set()
    told = await ended(ada, rule)
    assert (told["done"], told["skipped"], told["waiting"]) == (4, 2, 2)
    skipped = (await ada.call("GET", f"/bulk/{rule['bulk_id']}/skipped"))["items"]
    assert {one["conflict_id"]: one["sentence"] for one in skipped} == {
        "c1": "It changed since it was shown, so the rule no longer fits.",
        "c2": "Another rule, turned on since it was shown, answers differently, so it waits for you.",
    }
    assert [await state(ada, one) for one in ("c1", "c2")] == [OPEN, OPEN]


def of_child(detected: ConflictFact, child: bool) -> ConflictFact:
    return detected.model_copy(update={"record": detected.record.model_copy(update={"child": child})})


def _agreed_there(detected: ConflictFact) -> ConflictFact:
    (field,) = detected.fields
    return detected.model_copy(update={"fields": (field.model_copy(update={"base": field.theirs}),)})


def _overtaken(detected: ConflictFact, version: int, decision_id: str) -> ConflictFact:
    values = detected.model_dump() | {"version": version, "decision_id": decision_id, "sentence": "It moved."}
    return ResolutionOvertaken(**values)


# --- on ---------------------------------------------------------------------------------------------------------------


async def test_a_detected_conflict_is_decided_once(ada: Church, app: FastAPI, kafka_server: str) -> None:
    """The fact arrives through Kafka twice, and an older one after it."""
    rule = await turn_on(ada, older_than_days=90)
    twice = phone(ada, "c1", 2)
    for each in (twice, twice, phone(ada, "c1", 1)):
        await publish(kafka_server, each, PEOPLE_SYNC)
    await publish(kafka_server, phone(ada, "c2", days=10), PEOPLE_SYNC)

    async def known() -> bool:
        return bool((await ada.call("GET", "", record_id="member-of-c2"))["items"])

    await eventually(known)

    async def decided() -> bool:
        return bool((await ada.call("GET", "", record_id="member-of-c1", state="resolving"))["items"])

    await eventually(decided)
    name = f"{NAME} when ours is older than 90 days"
    assert await state(ada, "c1") == ("resolving", name, rule["id"])
    assert await state(ada, "c2") == OPEN
    assert await decisions(app, ada, "c1") == 1
    (told,) = await told_decisions(kafka_server, ada.id, 1)
    assert (told["rule_id"], told["decided_by_name"], told["choices"]) == (rule["id"], name, {"phone": "theirs"})
    assert (told["decided_on"], told["bulk_id"]) == (1, None)


async def test_a_known_conflict_is_left_to_a_person(ada: Church) -> None:
    """A conflict that was open before the rule, and is published again with the same values."""
    await ada.tell(phone(ada, "c1"))
    rule = await turn_on(ada)
    await ada.call("POST", f"/rules/{rule['id']}/off")
    await ada.tell(phone(ada, "c2"))
    assert await state(ada, "c2") == OPEN
    # Turned on again: shown, and left as it is.
    shown = await show(ada)
    assert shown["count"] == 1
    await ada.call("POST", f"/rules/{rule['id']}/off")
    again = await ada.call("POST", "/rules", PHONE | {"digest": shown["digest"]}, status=201)
    assert again["id"] == rule["id"]
    await ended(ada, again)
    assert await state(ada, "c2") == ("resolving", NAME, rule["id"])
    await ada.call("POST", f"/rules/{rule['id']}/off")
    await ada.tell(phone(ada, "c3"))
    await turn_on(ada, child=True)
    await ada.tell(of_child(phone(ada, "c3", 2), True))
    assert await state(ada, "c3") == OPEN


async def test_a_rule_turned_off_decides_nothing(ada: Church) -> None:
    rule = await turn_on(ada)
    await ada.tell(phone(ada, "c1"))
    assert await state(ada, "c1") == ("resolving", NAME, rule["id"])
    for _ in range(2):
        assert not (await ada.call("POST", f"/rules/{rule['id']}/off"))["on"]
    await ada.tell(phone(ada, "c2"))
    assert await state(ada, "c2") == OPEN
    (listed,) = (await ada.call("GET", "/rules"))["items"]
    assert (listed["on"], listed["waiting"], listed["applied"], listed["overtaken"]) == (False, 1, 0, 0)
    (line,) = await ada.file("/rules.csv")
    assert (line["Rule"], line["On"], line["Being applied"], line["Id"]) == (NAME, "no", "1", rule["id"])
    await ada.call("DELETE", f"/rules/{rule['id']}", status=204)
    await ada.call("DELETE", f"/rules/{rule['id']}", status=404)
    await ada.call("POST", f"/rules/{rule['id']}/off", status=404)
    assert (await ada.call("GET", "/rules"))["items"] == []
    # Its decisions keep its name.
    assert await state(ada, "c1") == ("resolving", NAME, rule["id"])


async def test_of_two_rules_that_disagree_neither_decides(ada: Church) -> None:
    theirs = await turn_on(ada, older_than_days=90)
    await ada.tell(phone(ada, "c1", days=200))
    assert (await state(ada, "c1"))[0] == "resolving"
    await turn_on(ada, answer="ours", older_than_days=365)
    await ada.tell(phone(ada, "c2", days=400), phone(ada, "c3", days=200))
    assert await state(ada, "c2") == OPEN
    assert (await state(ada, "c3"))[2] == theirs["id"]
    # Nor does a third rule decide a conflict about which two disagree; the page says that it stays.
    shown = await show(ada)
    assert (shown["count"], shown["left_out"]) == (0, 1)
    # Two rules that agree make one decision.
    again = await turn_on(ada)
    await ada.tell(phone(ada, "c4", days=100))
    assert (await state(ada, "c4"))[2] in {theirs["id"], again["id"]}


async def test_an_overtaken_conflict_is_left_to_a_person(ada: Church, app: FastAPI) -> None:
    rule = await turn_on(ada)
    await ada.tell(phone(ada, "c1"))
    first = (await ada.call("GET", "/c1"))["decision"]["id"]
    moved = phone(ada, "c1", 2, ours="8", values_version=2)
    later = phone(ada, "c1", 3, ours="9", values_version=3)
    await ada.tell(_overtaken(moved, 2, first), later)
    assert await state(ada, "c1") == ("open", NAME, rule["id"])
    assert await decisions(app, ada, "c1") == 1
    assert (await show(ada))["left_out"] == 1
    # Published out of order: the newer values first.
    await ada.tell(phone(ada, "c2"))
    second = (await ada.call("GET", "/c2"))["decision"]["id"]
    newest = phone(ada, "c2", 3, ours="9", values_version=3)
    await ada.tell(newest, _overtaken(phone(ada, "c2", 2, ours="8", values_version=2), 2, second), newest)
    assert (await state(ada, "c2"))[0] == "open"
    assert await decisions(app, ada, "c2") == 1
    (listed,) = (await ada.call("GET", "/rules"))["items"]
    assert (listed["waiting"], listed["overtaken"]) == (0, 2)


async def test_a_conflict_that_ended_before_its_detection_is_not_decided(ada: Church, app: FastAPI) -> None:
    await turn_on(ada)
    over = fact(ConflictConverged, 2, organization_id=ada.id, conflict_id="c1")
    await ada.tell(over, phone(ada, "c1"))
    assert await state(ada, "c1") == ("agreed_elsewhere", None, None)
    assert await decisions(app, ada, "c1") == 0


async def test_two_replicas_detect_the_same_conflict_at_once(ada: Church, app: FastAPI) -> None:
    await turn_on(ada)
    ids = [f"c{number}" for number in range(10)]
    await asyncio.gather(*(ada.tell(phone(ada, one)) for one in ids for _ in range(3)))
    for one in ids:
        assert (await state(ada, one))[0] == "resolving"
        assert await decisions(app, ada, one) == 1


async def test_turning_off_waits_for_running_decisions_and_then_holds(ada: Church, app: FastAPI) -> None:
    """Facts during the call: facts published after its answer are left to a person."""
    rule = await turn_on(ada)
    first = [ada.tell(phone(ada, f"c{number}")) for number in range(10)]
    off = ada.call("POST", f"/rules/{rule['id']}/off")
    await asyncio.gather(*first[:5], off, *first[5:])
    left = (await ada.call("GET", "/count"))["open"]
    await ada.tell(*(phone(ada, f"d{number}") for number in range(5)))
    assert (await ada.call("GET", "/count"))["open"] == left + 5


async def test_the_status_is_never_ours(ada: Church) -> None:
    body = {"fields": ["active"], "answer": "ours"}
    refused = await ada.call("POST", "/rules/preview", body, status=422)
    assert refused["errors"][0]["field"] == "answer"
    await ada.call("POST", "/rules", body | {"digest": "x"}, status=422)
    await ada.call("POST", "/rules/preview", {"fields": ["shoe_size"], "answer": "ours"}, status=422)


async def test_another_organization_has_neither_rules_nor_offers(
    ada: Church, app: FastAPI, client: httpx.AsyncClient, keys: KeyRing
) -> None:
    other = Church(app, client, keys, f"{ada.id}-other")
    await answer_many(ada, [f"c{number}" for number in range(5)])
    rule = await turn_on(ada)
    assert (await other.call("GET", "/rules"))["items"] == []
    assert await offers(other) == []
    assert (await show(other))["past"]["looked_at"] == 0
    await other.call("POST", f"/rules/{rule['id']}/off", status=404)
    await other.call("DELETE", f"/rules/{rule['id']}", status=404)
    await other.tell(phone(other, "theirs"))
    assert await state(other, "theirs") == OPEN
    assert (await other.call("GET", "", rule_id=rule["id"], state="resolving"))["items"] == []
    other.headers = keys.user_headers(CONFLICT_SERVICE, organization_id=ada.id, roles=("staff",))
    await other.call("GET", "/rules")
    for method, path, body in (
        ("POST", "/rules/preview", PHONE),
        ("POST", "/rules", PHONE | {"digest": "x"}),
        ("POST", "/rules/offers/decline", {"fields": ["phone"]}),
        ("POST", f"/rules/{rule['id']}/off", None),
        ("DELETE", f"/rules/{rule['id']}", None),
    ):
        await other.call(method, path, body, status=403)


async def test_a_rules_decisions_are_listed(ada: Church) -> None:
    rule = await turn_on(ada)
    await ada.tell(phone(ada, "c1"), phone(ada, "c2"))
    decision = (await ada.call("GET", "/c1"))["decision"]["id"]
    applied = ResolutionApplied(**(phone(ada, "c1").model_dump() | {"version": 2, "decision_id": decision}))
    await ada.tell(applied)
    listed = {
        state: [one["id"] for one in (await ada.call("GET", "", rule_id=rule["id"], state=state))["items"]]
        for state in ("resolved", "resolving")
    }
    assert listed == {"resolved": ["c1"], "resolving": ["c2"]}
    (told,) = (await ada.call("GET", "/rules"))["items"]
    assert (told["waiting"], told["applied"], told["not_needed"]) == (1, 1, 0)
    await ada.tell(ConflictWithdrawn(**(phone(ada, "c2").model_dump() | {"version": 2})))
    (told,) = (await ada.call("GET", "/rules"))["items"]
    assert (told["waiting"], told["applied"], told["not_needed"]) == (0, 1, 1)


async def test_the_outcomes_of_its_decisions_are_counted_once(ada: Church, app: FastAPI) -> None:
    """With facts that are repeated, late, or concurrent."""
    rule = await turn_on(ada)
    ids = [f"c{number}" for number in range(12)]
    await ada.tell(*(phone(ada, one) for one in ids))
    decided = {one: (await ada.call("GET", f"/{one}"))["decision"]["id"] for one in ids}

    def end(kind: type[ConflictFact], conflict_id: str, version: int) -> ConflictFact:
        of_decision = {"decision_id": decided[conflict_id], "sentence": "It moved."}
        more = of_decision if kind in {ResolutionApplied, ResolutionOvertaken} else {}
        return kind(**(phone(ada, conflict_id).model_dump() | {"version": version} | more))

    told = [
        *(end(ResolutionApplied, one, 2) for one in ids[:5]),
        *(end(ResolutionOvertaken, one, 2) for one in ids[5:7]),
        *(end(ConflictWithdrawn, one, 2) for one in ids[7:10]),
    ]
    await asyncio.gather(*(ada.tell(one) for one in told * 3))
    # Ended as far as known when it was carried out; published late, and twice.
    await ada.tell(*[end(ConflictConverged, ids[10], 3), end(ResolutionApplied, ids[10], 2)] * 2)
    await ada.tell(*told)
    (listed,) = (await ada.call("GET", "/rules"))["items"]
    counted = {name: listed[name] for name in ("waiting", "applied", "overtaken", "not_needed")}
    assert counted == {"waiting": 1, "applied": 6, "overtaken": 2, "not_needed": 3}
    async with app.state.runtime.sessions() as session:
        statement = text("SELECT outcome, count(*) FROM decision WHERE rule_id = :rule GROUP BY outcome")
        assert dict((await session.execute(statement, {"rule": rule["id"]})).all()) == counted


async def test_too_many_rules_are_refused(ada: Church, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST", 2)
    await turn_on(ada)
    await turn_on(ada, older_than_days=90)
    shown = await show(ada, older_than_days=365)
    body = shown["condition"] | {"digest": shown["digest"]}
    assert (await ada.call("POST", "/rules", body, status=409))["type"].endswith("/too-many-rules")
    # An equal rule is not counted as another.
    await turn_on(ada)


async def test_a_rule_turned_off_during_its_bulk_answer(ada: Church, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the second batch, and turned off before another process continues: the rest is left out and named."""
    await ada.tell(*(phone(ada, f"c{number}", minutes=number) for number in range(6)))
    monkeypatch.setattr(bulk, "BATCH", 2)
    taken: list[str] = []
    turned_off: list[str] = []

    async def take_or_die(session: Any, organization_id: str, conflict_id: str, *rest: Any) -> Any:
        row = await take(session, organization_id, conflict_id, *rest)
        taken.append(conflict_id)
        if len(taken) == 4:
            turned_off.append("next")
            raise TransientError("amid the second batch")
        return row

    monkeypatch.setattr(bulk, "take", take_or_die)
    find = stored.find

    async def after_the_switch(session: Any, organization_id: str, rule_id: str, *, shared: bool = False) -> Any:
        if turned_off:
            turned_off.clear()
            await ada.call("POST", f"/rules/{rule_id}/off")
        return await find(session, organization_id, rule_id, shared=shared)

    shown = await show(ada)
    monkeypatch.setattr(stored, "find", after_the_switch)
    rule = await ada.call("POST", "/rules", shown["condition"] | {"digest": shown["digest"]}, status=201)
    told = await ended(ada, rule)
    assert (told["done"], told["skipped"], told["waiting"]) == (6, 4, 2)
    skipped = (await ada.call("GET", f"/bulk/{rule['bulk_id']}/skipped"))["items"]
    assert {one["sentence"] for one in skipped} == {"The rule was turned off before its turn."}
    assert (await ada.call("GET", "/count")) == {"open": 4}
