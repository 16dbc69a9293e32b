"""Notices of Planning Center: linked events that changed there are read again, and each notice is answered."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import httpx
import pytest
import stamina
from aiokafka import AIOKafkaConsumer
from fastapi import FastAPI
from sqlalchemy import func, select, update

from calendar_sync.storage.tables import CalendarConnection, Gap, Hint
from calendar_sync.usecases import gaps as own_gaps
from calendar_sync.usecases import hints as own_hints
from calendar_sync.usecases.refreshes import REFRESHES
from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.events.webhooks_subscription_v1 import DeliveryGapFound, SubscriptionsActive
from contracts.values import WEBHOOK_GATEWAY
from servicekit.kafka.subscriptions import EventHeaders, Fact
from servicekit.testing.facts import publish
from synckit import gaps, hints

pytestmark = pytest.mark.asyncio(loop_scope="session")
_numbers = count(1)


def notice(linked: Any, type_: str, id_: str, what: str = "updated", **values: Any) -> WebhookReceived:
    """A notice, by default of a change a minute ago."""
    now = linked.clock.now()
    kind = {"Event": "event", "EventInstance": "event_instance", "EventRequest": "event_request"}.get(type_, "tag")
    return WebhookReceived.model_validate(
        {
            "organization_id": "org-1",
            "version": next(_numbers),
            "delivery_id": str(uuid4()),
            "product": "calendar",
            "generation": 1,
            "name": f"calendar.v2.events.{kind}.{what}",
            "resource_type": type_,
            "resource_id": id_,
            "received_at": now,
            **values,
        }
    )


async def tell(linked: Any, *those: WebhookReceived) -> None:
    """Hand over notices, as their subscription does."""
    facts = [
        Fact(one, EventHeaders(str(uuid4()), "WebhookReceived", "/webhook-gateway", "", None, None)) for one in those
    ]
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await own_hints.take(session, facts, linked.clock.now())


async def answers(linked: Any) -> dict[int, dict[str, Any]]:
    """Answers to notices since the last call, by number; each is given once."""
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await hints.answer_left(session, REFRESHES, linked.clock.now(), timedelta(0))
    found = [body for kind, _, body in await linked.here.facts() if kind.endswith("WebhookApplied")]
    assert len({body["version"] for body in found}) == len(found)
    return {body["version"]: body for body in found}


async def reconciled(linked: Any, horizon: timedelta = timedelta(0)) -> list[dict[str, Any]]:
    """Gaps reported as reconciled since the last call. `horizon`: how far reads stay behind."""
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await own_gaps.close_due(session, linked.clock.now(), horizon)
    return [body for kind, _, body in await linked.here.facts() if kind.endswith("GapReconciled")]


@pytest.fixture
def days() -> Iterator[int]:
    return iter(range(12, 40))


async def pair(linked: Any, title: str, day: int) -> tuple[dict[str, Any], str]:
    """A linked event, and its id there."""
    at = f"{(linked.clock.now() + timedelta(days=day)).date()}T09:00"
    pco = linked.create(title, at)
    values = {"title": title, "starts_at": f"{at}:00Z", "ends_at": f"{at}:00Z", "recurrence": None}
    return await linked.link(await linked.here.add(**values), pco), pco


async def series(linked: Any, title: str) -> tuple[dict[str, Any], str]:
    """A linked event with three dates, which a check reads at its own address; and its id there."""
    at = f"{(linked.clock.now() + timedelta(days=5)).date()}T19:00"
    pco = linked.series(title, at, count=3)
    values = {"title": title, "starts_at": f"{at}:00Z", "ends_at": f"{at}:00Z", "recurrence": None}
    return await linked.link(await linked.here.add(**values), pco), pco


async def test_an_event_and_one_of_its_dates(linked: Any, days: Any) -> None:
    event, pco = await pair(linked, "Retreat", next(days))
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    first = notice(linked, "Event", pco)
    await tell(linked, first)
    await linked.work()
    said = (await answers(linked))[first.version]
    assert (said["outcome"], said["record_kind"], said["record_id"]) == ("changed", "event", event["id"])
    assert (await linked.event(event))["title"] == "Spring retreat"
    (instance,) = linked.instances(pco)
    linked.control.edit_instance(linked.there.id, instance["id"], location="Garden")
    second = notice(linked, "EventInstance", instance["id"])
    await tell(linked, second)
    await linked.work()
    assert (await answers(linked))[second.version]["outcome"] == "changed"
    assert (await linked.event(event))["location"] == "Garden"


async def test_many_notices_about_one_event_are_one_read(linked: Any, days: Any) -> None:
    _, pco = await pair(linked, "Retreat", next(days))
    (instance,) = linked.instances(pco)
    mark = linked.mark()
    long_ago = linked.clock.now() - timedelta(days=1)
    those = [notice(linked, "Event", pco, event_time=long_ago) for _ in range(700)]
    those += [notice(linked, "EventInstance", instance["id"], event_time=long_ago) for _ in range(50)]
    await tell(linked, *reversed(those))
    await linked.work()
    assert len(linked.requests(mark)) == 1
    found = await answers(linked)
    assert found.keys() == {one.version for one in those}
    assert {one["outcome"] for one in found.values()} == {"unchanged"}
    assert await linked.here.rows(Hint) == []


async def test_a_read_that_looks_old_is_repeated_after_the_horizon(linked: Any, days: Any) -> None:
    event, pco = await pair(linked, "Retreat", next(days))
    mark = linked.mark()
    one = notice(linked, "Event", pco, event_time=linked.clock.now() + timedelta(hours=1))
    await tell(linked, one)
    await linked.work()
    assert await answers(linked) == {}
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    linked.clock.advance(timedelta(seconds=121))
    await linked.work()
    assert (await answers(linked))[one.version]["outcome"] == "changed"
    assert len(linked.requests(mark)) == 2
    assert (await linked.event(event))["title"] == "Spring retreat"


async def test_a_request_leads_to_a_check_and_is_answered_by_one_that_shows_it_for_certain(
    linked: Any, days: Any
) -> None:
    event, pco = await pair(linked, "Retreat", next(days))
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    one = notice(linked, "EventRequest", "5", "approved")
    await tell(linked, one)
    await linked.work()
    assert await linked.poll(0.1) > 0
    assert (await linked.event(event))["title"] == "Spring retreat", "within seconds"
    # What the first check could not see, because reads lag.
    linked.control.edit_event(linked.there.id, pco, name="Summer retreat")
    for _ in range(3):
        await linked.poll(0.5)
        assert await answers(linked) == {}, "reads may still have shown the state before"
    said: dict[int, dict[str, Any]] = {}
    for _ in range(4):
        await linked.poll(0.5)
        said |= await answers(linked)
    assert (said[one.version]["outcome"], "could not be read" in said[one.version]["sentence"]) == ("checked", False)
    assert (await linked.event(event))["title"] == "Summer retreat"


async def reads(linked: Any, pco: str, after: int) -> int:
    """Reads of an event at its own address since a request."""
    return len([one for one in linked.requests(after) if one["path"].startswith(f"/calendar/v2/events/{pco}/")])


UNREADABLE = [
    pytest.param({"kind": "respond", "status": 500}, id="500"),
    pytest.param({"kind": "respond", "status": 403}, id="403"),
    pytest.param({"kind": "respond", "status": 422}, id="422"),
    pytest.param({"kind": "respond", "status": 200, "body": "empty"}, id="empty"),
]


@pytest.mark.parametrize("action", UNREADABLE)
@pytest.mark.parametrize("others", [0, 1, 7])
async def test_an_event_that_cannot_be_read_holds_up_no_notice_and_no_gap(
    linked: Any, days: Any, action: dict[str, Any], others: int
) -> None:
    stamina.set_testing(True, attempts=1)
    bad, bad_pco = await series(linked, "Choir")
    good = [await pair(linked, f"Picnic {number}", next(days)) for number in range(others)]
    await linked.poll()
    bad = await linked.event(bad)
    complete = (await linked.here.call("GET", "/status"))["checked_at"]
    assert datetime.fromisoformat(complete) == linked.clock.now()
    linked.control.add_fault(action, path=f"/calendar/v2/events/{bad_pco}/")
    linked.control.edit_event(linked.there.id, bad_pco, name="Choir practice")
    for _, pco in good:
        linked.control.edit_event(linked.there.id, pco, name=f"Summer picnic {pco}")
    one = notice(linked, "EventRequest", "5")
    await tell(linked, one)
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await gaps.found(session, own_gaps.GAPS, gap(linked), linked.clock.now())
    mark = linked.mark()
    found: dict[int, dict[str, Any]] = {}
    closed: list[dict[str, Any]] = []
    for _ in range(60):
        await linked.poll(1 / 12)
        found |= await answers(linked)
        closed += await reconciled(linked, timedelta(minutes=2))
    assert found[one.version]["outcome"] == "checked"
    assert "could not be read" in found[one.version]["sentence"]
    (told,) = closed
    assert "could not be read" in told["sentence"]
    assert 1 <= await reads(linked, bad_pco, mark) <= 6, "in five minutes"

    status = await linked.here.call("GET", "/status")
    assert (status["checked_at"], status["role_missing"]) == (complete, False), "it was not complete"
    assert "some linked events could not be read" in status["message"]
    now = await linked.event(bad)
    assert (now["title"], now["version"], now["link"]) == (bad["title"], bad["version"], bad["link"])
    for event, pco in good:
        assert (await linked.event(event))["title"] == f"Summer picnic {pco}"
    linked.control.clear_faults()
    await linked.poll()
    status = await linked.here.call("GET", "/status")
    assert (datetime.fromisoformat(status["checked_at"]), status["message"]) == (linked.clock.now(), None)
    assert (await linked.event(bad))["title"] == "Choir practice"


async def test_a_notice_does_not_have_planning_center_checked_back_to_back_while_it_is_away(
    linked: Any, days: Any
) -> None:
    stamina.set_testing(True, attempts=1)
    event, _ = await pair(linked, "Retreat", next(days))
    linked.control.add_fault({"kind": "respond", "status": 503}, path="/calendar/v2/event")
    one = notice(linked, "EventRequest", "5")
    await tell(linked, one)
    await linked.work()
    mark = linked.mark()
    for _ in range(36):
        await linked.poll(1 / 12)
    assert 2 <= len(linked.requests(mark)) <= 6, "in three minutes"
    assert await answers(linked) == {}
    for _ in range(10):
        await linked.poll(1)
    said = (await answers(linked))[one.version]
    assert (said["outcome"], "no check has shown it for certain" in said["sentence"]) == ("later", True)
    assert (await linked.event(event))["link"] == event["link"]


async def test_a_notice_is_answered_when_the_role_is_missing(linked: Any, days: Any) -> None:
    await pair(linked, "Retreat", next(days))
    linked.control.set_calendar_role(linked.there.id, linked.there.admin_id, "No Access")
    one = notice(linked, "EventRequest", "5")
    await tell(linked, one)
    await linked.work()
    assert await answers(linked) == {}
    for _ in range(3):
        await linked.poll(0.5)
    said = (await answers(linked))[one.version]
    assert (said["outcome"], "Calendar role" in said["sentence"]) == ("failed", True)
    assert (await linked.here.call("GET", "/status"))["role_missing"] is True


async def test_a_sync_of_an_event_that_is_refused_does_not_say_that_the_role_is_missing(linked: Any) -> None:
    event, pco = await series(linked, "Choir")
    refused = linked.control.add_fault({"kind": "respond", "status": 403}, path=f"/calendar/v2/events/{pco}/")
    done = await linked.sync(event)
    assert (done["outcome"], "Calendar role" in done["sentence"]) == ("rejected", False)
    assert "does not show this event" in done["sentence"]
    linked.control.remove_fault(refused)
    linked.control.set_calendar_role(linked.there.id, linked.there.admin_id, "No Access")
    assert "Calendar role" in (await linked.sync(event))["sentence"]


async def test_a_date_that_is_not_shown_yet_is_read_again(linked: Any, days: Any) -> None:
    event, pco = await series(linked, "Choir")
    added = linked.control.create_instance(linked.there.id, pco, f"{linked.clock.now().date()}T20:00")
    hidden = linked.control.add_fault({"kind": "respond", "status": 404}, path=f"/calendar/v2/event_instances/{added}$")
    one = notice(linked, "EventInstance", added, "created")
    destroyed = notice(linked, "EventInstance", "999999998", "destroyed")
    never = notice(linked, "EventInstance", "999999999")
    await tell(linked, one, destroyed, never)
    await linked.work()
    found = await answers(linked)
    assert list(found) == [destroyed.version], "a date that is gone is not waited for"
    linked.control.remove_fault(hidden)
    linked.clock.advance(timedelta(seconds=121))
    await linked.work()
    found = await answers(linked)
    assert (found[one.version]["outcome"], found[never.version]["outcome"]) == ("changed", "ignored")
    assert (await linked.event(event))["occurrence_count"] == 4


async def test_what_is_put_back_after_a_sync_was_asked_for_outlives_a_later_notice(linked: Any, days: Any) -> None:
    event, pco = await pair(linked, "Retreat", next(days))
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    first = notice(linked, "Event", pco, event_time=linked.clock.now() + timedelta(hours=1))
    await tell(linked, first)
    await linked.here.call("POST", f"/events/{event['id']}/sync", status=202)
    await linked.work()
    assert (await linked.event(event))["title"] == "Spring retreat"
    assert await answers(linked) == {}, "the read looked old"
    linked.clock.advance(timedelta(seconds=30))
    history = (await linked.here.call("GET", f"/events/{event['id']}/history"))["items"]
    entry = next(one["id"] for one in history if one["field"] == "title" and one["can_undo"])
    await linked.here.call("POST", f"/events/{event['id']}/restore", {"entry_id": entry})
    linked.clock.advance(timedelta(seconds=10))
    second = notice(linked, "Event", pco)
    await tell(linked, second)
    for _ in range(2):
        await linked.work()
        linked.clock.advance(timedelta(seconds=121))
    await linked.work()
    assert set(await answers(linked)) == {first.version, second.version}
    kept = await linked.event(event)
    assert (kept["title"], kept["link"]["differs"]) == ("Retreat", ["title"])
    # Asking again is another matter.
    assert (await linked.sync(event))["outcome"] == "updated_here"
    assert (await linked.event(event))["title"] == "Spring retreat"


async def test_notices_that_need_no_read(linked: Any, days: Any) -> None:
    await pair(linked, "Retreat", next(days))
    mark = linked.mark()
    those = [
        notice(linked, "Event", "17", generation=2),
        notice(linked, "Event", "17", generation=0),
        notice(linked, "Tag", "17"),
        notice(linked, "Event", "none"),
        notice(linked, "Event", "17", organization_id="nobody"),
    ]
    unlinked = notice(linked, "Event", "999999999")
    await tell(linked, *those, unlinked)
    await linked.work()
    found = await answers(linked)
    assert [found[one.version]["outcome"] for one in those] == ["ignored"] * len(those)
    assert len({found[one.version]["sentence"] for one in those}) == len(those)
    assert found[unlinked.version]["outcome"] == "ignored"
    assert linked.requests(mark) == []


async def test_a_disconnect_answers_what_waits(linked: Any, days: Any) -> None:
    _, pco = await pair(linked, "Retreat", next(days))
    those = [notice(linked, "Event", pco) for _ in range(3)]
    await tell(linked, *those)
    await linked.disconnected()
    found = await answers(linked)
    assert [found[one.version]["outcome"] for one in those] == ["ignored"] * 3
    assert "disconnected" in found[those[0].version]["sentence"]
    later = notice(linked, "Event", pco)
    await tell(linked, later)
    assert (await answers(linked))[later.version]["outcome"] == "ignored"


def gap(linked: Any, **values: Any) -> DeliveryGapFound:
    now = linked.clock.now()
    return DeliveryGapFound.model_validate(
        {
            "organization_id": "org-1",
            "version": 4,
            "product": "calendar",
            "generation": 1,
            "occurred_at": now,
            "gap_id": "gap-1",
            "since": now - timedelta(hours=2),
            "until": now,
            **values,
        }
    )


async def test_a_gap_is_closed_by_a_check_that_began_after_it(linked: Any, days: Any) -> None:
    event, pco = await pair(linked, "Retreat", next(days))
    await linked.poll()
    linked.control.edit_event(linked.there.id, pco, name="Spring retreat")
    async with linked.here.app.state.runtime.sessions.begin() as session:
        for _ in range(2):
            await gaps.found(session, own_gaps.GAPS, gap(linked), linked.clock.now())
        await gaps.found(session, own_gaps.GAPS, gap(linked, product="people", gap_id="other"), linked.clock.now())
    assert await reconciled(linked) == [], "the last check began before"
    await linked.poll(0.1)
    linked.clock.advance(timedelta(seconds=10))
    assert await reconciled(linked, timedelta(minutes=2)) == [], "its reads may have shown the state before"
    linked.clock.advance(timedelta(seconds=10))
    (said,) = await reconciled(linked)
    assert (said["gap_id"], said["version"], said["by"]) == ("gap-1", 4, "calendar-sync")
    assert (await linked.event(event))["title"] == "Spring retreat"
    assert await linked.here.rows(Gap) == []


async def test_a_gap_waits_for_the_connection(linked: Any, days: Any) -> None:
    await pair(linked, "Retreat", next(days))
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await gaps.found(session, own_gaps.GAPS, gap(linked), linked.clock.now())
    await linked.disconnected()
    assert await reconciled(linked) == []
    await linked.connected()
    await reconciled(linked)
    await linked.poll(0.1)
    linked.clock.advance(timedelta(seconds=10))
    assert len(await reconciled(linked)) == 1


async def test_without_links_a_gap_is_closed_at_once(linked: Any) -> None:
    async with linked.here.app.state.runtime.sessions.begin() as session:
        await gaps.found(session, own_gaps.GAPS, gap(linked), linked.clock.now())
    (said,) = await reconciled(linked)
    assert "No event is linked" in said["sentence"]


async def test_the_first_subscriptions_of_a_generation_lead_to_one_check(linked: Any, days: Any) -> None:
    await pair(linked, "Retreat", next(days))
    await linked.poll()

    async def active(generation: int, version: int) -> bool:
        fact = SubscriptionsActive(
            organization_id="org-1",
            version=version,
            product="calendar",
            generation=generation,
            occurred_at=linked.clock.now(),
            names=(),
        )
        async with linked.here.app.state.runtime.sessions.begin() as session:
            await session.execute(
                update(CalendarConnection).values(next_poll_at=linked.clock.now() + timedelta(hours=1))
            )
            await gaps.subscribed(session, own_gaps.GAPS, fact, linked.clock.now())
        assert await reconciled(linked) == []
        async with linked.here.app.state.runtime.sessions() as session:
            due = await session.scalar(select(CalendarConnection.next_poll_at))
            return bool(due is not None and due <= linked.clock.now())

    assert await active(1, 1)
    await linked.poll(0.1)
    linked.clock.advance(timedelta(seconds=10))
    assert await reconciled(linked) == [], "nobody is told"
    assert not await active(1, 2)
    assert await active(2, 3)


async def test_notices_arrive_by_kafka(app: FastAPI, client: httpx.AsyncClient, kafka_server: str) -> None:
    church = f"church-{uuid4().hex[:8]}"
    fact = WebhookReceived.model_validate(
        {
            "organization_id": church,
            "version": 1,
            "delivery_id": str(uuid4()),
            "product": "calendar",
            "generation": 1,
            "name": "calendar.v2.events.event_request.created",
            "resource_type": "EventRequest",
            "resource_id": "17",
            "received_at": "2026-03-04T05:06:07Z",
        }
    )
    async with AIOKafkaConsumer(
        "webhooks.outcome.v1", bootstrap_servers=kafka_server, auto_offset_reset="earliest"
    ) as consumer:
        await publish(kafka_server, fact, WEBHOOK_GATEWAY)
        async for message in consumer:
            if message.key == fact.delivery_id.encode():
                break
    async with app.state.runtime.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(Hint)) == 0
