"""Notices of Planning Center: what changed there is here soon, and each notice is answered."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from sync_harness.notices import Notices, Outcomes, fact, listening, subscribe
from sync_harness.process import LAG
from sync_harness.site import Site
from sync_harness.stage import Stage

from contracts.events.auth_connection_v1 import ConnectionClosing, ReconnectRequired
from contracts.values import AUTH_SERVICE
from servicekit.testing import eventually
from servicekit.testing.facts import publish

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outcomes(kafka_server: str) -> AsyncIterator[Outcomes]:
    """All that the delivery log is told."""
    async with listening(kafka_server) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def notices(stage: Stage, site: Site, quiet: None, outcomes: Outcomes) -> AsyncIterator[Notices]:
    """A synced church whose notices come here."""
    await site.sync()
    await site.believable()
    await subscribe(site, stage.simulator.base_url)
    async with AIOKafkaProducer(bootstrap_servers=stage.kafka) as producer:
        yield Notices(site, producer, outcomes)


async def test_a_change_of_a_person_is_here(notices: Notices) -> None:
    site = notices.site
    bea = await site.member("Bea")
    site.edit("Bea", last_name="Bakerson")
    await site.visible()
    (answer,) = await notices.deliver()
    assert (answer["outcome"], answer["record_kind"], answer["record_id"]) == ("changed", "member", str(bea["id"]))
    assert (await site.member("Bea"))["last_name"] == "Bakerson"


async def test_a_change_of_each_kind_of_contact_is_here(notices: Notices) -> None:
    site = notices.site
    site.edit_contact("Bruno", "Email", address="new@example.org")
    site.edit_contact("Carl", "PhoneNumber", number="(212) 555-0199")
    site.mutate(
        {"op": "create", "type": "Address", "id": site.person("Ned")["id"], "attributes": {"street_line_1": "5 Elm St"}}
    )
    await site.visible()
    answers = await notices.deliver()
    assert {answer["outcome"] for answer in answers} == {"changed"}
    assert (await site.member("Bruno"))["email"] == "new@example.org"
    assert "0199" in (await site.member("Carl"))["phone"]
    assert (await site.member("Ned"))["address"]["street_line_1"] == "5 Elm St"


async def test_a_notice_about_an_erased_person_is_forgotten_by_the_log(notices: Notices, stage: Stage) -> None:
    site = notices.site
    bruno, person = await site.member("Bruno"), site.person("Bruno")["id"]
    await site.call("POST", f"/members/{bruno['id']}/erasure", {"on_request_of": "person"}, status=201)
    async with AIOKafkaConsumer(
        "webhooks.care.v1", bootstrap_servers=stage.kafka, isolation_level="read_committed"
    ) as care:
        await care.seek_to_end()
        site.edit("Bruno", last_name="Comesback")
        await site.visible()
        (answer,) = await notices.deliver()
        assert answer["outcome"] == "ignored"
        async for message in care:
            body = json.loads(message.value)
            # The erasure itself is about every message, and may still have been on its way.
            if body["organization_id"] == site.organization_id and body["delivery_number"] is not None:
                assert (body["pco_person_ids"], body["delivery_number"]) == ([str(person)], answer["version"])
                break


async def test_a_household_that_changes_and_one_that_is_new(notices: Notices) -> None:
    site = notices.site
    site.rename_household("Clark Household", "The Clarks")
    ned = str(site.person("Ned")["id"])
    site.mutate({"op": "create", "type": "Household", "attributes": {"name": "Neds", "person_ids": [ned]}})
    await site.visible()
    answers = await notices.deliver()
    assert {answer["outcome"] for answer in answers} <= {"changed", "unchanged"}
    assert {answer["record_kind"] for answer in answers if answer["outcome"] == "changed"} == {"family"}
    await site.family_of("The Clarks")
    assert await site.members_of("Neds") == ["Ned"]


async def test_somebody_new_there_is_here(notices: Notices) -> None:
    site = notices.site
    site.create("Nora", "New", email="nora@example.org")
    await site.visible()
    answers = await notices.deliver()
    nora = await site.member("Nora")
    assert nora["email"] == "nora@example.org"
    assert {answer["record_id"] for answer in answers} == {str(nora["id"])}
    assert "changed" in {answer["outcome"] for answer in answers}


async def test_somebody_deleted_there_stays_here_without_the_link(notices: Notices) -> None:
    site = notices.site
    ned = await site.member("Ned")
    site.delete("Ned")
    await site.visible()
    answers = await notices.deliver()
    assert {answer["outcome"] for answer in answers} == {"changed"}
    assert any("No longer in Planning Center" in answer["sentence"] for answer in answers)
    (link,) = await site.database.fetch("SELECT state FROM link WHERE record_id = $1", ned["id"])
    assert link["state"] == "gone"


async def test_notices_that_need_no_read_are_answered_at_once(notices: Notices) -> None:
    site = notices.site
    mark = site.mark()
    those = [
        fact(site, resource_id="17", generation=2),
        fact(site, resource_id="17", generation=0),
        fact(site, resource_type="FieldDatum", resource_id="17", person_id="18"),
        fact(site, resource_type="Email", resource_id="17", name="people.v2.events.email.destroyed"),
        fact(site, resource_id="no number"),
        fact(site, resource_id="17", organization_id="nobody"),
    ]
    answers = await notices.answered(await notices.tell(those))
    assert [answer["outcome"] for answer in answers] == ["ignored"] * len(those)
    assert len({answer["sentence"] for answer in answers}) == len(those)
    assert site.journal(mark) == []


async def test_repeated_and_reordered_notices_end_as_one_would(notices: Notices) -> None:
    site = notices.site
    site.edit("Cora", last_name="Clarkson")
    site.edit_contact("Cora", "Email", address="cora@example.net")
    site.edit("Cora", last_name="Clarks")
    await site.visible()
    those = notices.new()
    twice = [one.model_copy() for one in those]
    await notices.answered(await notices.tell([*reversed(those), *twice]))
    cora = await site.member("Cora")
    assert (cora["last_name"], cora["email"]) == ("Clarks", "cora@example.net")
    mark = site.mark()
    answers = await notices.answered(
        await notices.tell(fact(site, resource_id=str(site.person("Cora")["id"])) for _ in range(3))
    )
    assert {answer["outcome"] for answer in answers} == {"unchanged"}
    assert site.journal(mark, writes=True) == []


async def test_our_own_write_coming_back_costs_one_read_and_no_write(notices: Notices) -> None:
    site = notices.site
    notices.new()
    await site.change("Dora", last_name="Deanson")
    dora = await site.member("Dora")
    await site.call("POST", f"/members/{dora['id']}/sync")
    await site.looked_at()
    assert site.person("Dora")["last_name"] == "Deanson"
    await site.believable()
    mark = site.mark()
    echo = notices.new()
    assert echo
    answers = await notices.answered(await notices.tell(echo))
    assert {answer["outcome"] for answer in answers} == {"unchanged"}
    assert [entry["method"] for entry in site.journal(mark)] == ["GET"]
    await site.believable()
    mark = site.mark()
    await site.sync()
    assert site.journal(mark, writes=True) == []


async def test_a_read_that_looks_old_is_repeated_once_after_the_horizon(notices: Notices) -> None:
    site = notices.site
    amy = str(site.person("Amy")["id"])
    mark = site.mark()
    early = fact(site, resource_id=amy, event_time=datetime.now(UTC) + timedelta(minutes=5))
    (answer,) = await notices.answered(await notices.tell([early]))
    assert answer["outcome"] == "unchanged"
    read = [entry["path"] for entry in site.journal(mark)]
    assert read == [f"/people/v2/people/{amy}"] * 2
    mark = site.mark()
    untold = fact(site, resource_id=amy, event_time=None)
    await notices.answered(await notices.tell([untold]))
    assert len(site.journal(mark)) == 1


async def test_a_lagging_read_is_followed_by_one_that_shows_the_change(notices: Notices) -> None:
    """Nobody waits until the change is visible: the first read shows the state before it."""
    site = notices.site
    site.edit("Max", last_name="Maximus")
    (answer,) = await notices.deliver()
    assert answer["outcome"] == "changed"
    assert (await site.member("Max"))["last_name"] == "Maximus"


def of_connection(site: Site) -> dict[str, Any]:
    """The second fact about the church's connection, without its state."""
    return {
        "organization_id": site.organization_id,
        "version": 2,
        "product": "people",
        "generation": 1,
        "pco_organization_id": site.church.id,
        "pco_organization_name": "Church",
        "pco_person_id": site.church.admin_id,
        "occurred_at": datetime.now(UTC),
    }


async def test_a_disconnect_answers_what_waits(stage: Stage, notices: Notices) -> None:
    site = notices.site
    held = site.fault({"kind": "hold", "when": "before"}, path="^/people/v2/people/")
    those = [fact(site, resource_id=str(person["id"])) for person in site.rows("Person")[:8]]
    await notices.tell(those)

    async def waiting() -> bool:
        found = await site.database.value("SELECT count(*) FROM hint WHERE organization_id = $1", site.organization_id)
        return bool(found == len(those))

    await eventually(waiting)
    await publish(stage.kafka, ConnectionClosing(**of_connection(site), state="closing"), AUTH_SERVICE)
    await site.connected(2)
    site.control.release(held)
    site.control.remove_fault(held)
    answers = await notices.answered(those)
    assert {answer["outcome"] for answer in answers} <= {"ignored", "unchanged"}
    assert any("disconnected" in answer["sentence"] for answer in answers)
    (late,) = await notices.answered(await notices.tell([fact(site, resource_id="17")]))
    assert (late["outcome"], "not connected" in late["sentence"]) == ("ignored", True)


async def test_without_authorization_notices_are_answered_and_read_after_the_reconnect(
    stage: Stage, notices: Notices
) -> None:
    site = notices.site
    held = site.fault({"kind": "hold", "when": "before"}, path="^/people/v2/people/")
    site.edit("Max", last_name="Before")
    waiting = await notices.tell(notices.new())
    lost = ReconnectRequired(**of_connection(site), state="reconnect_required", reason="refused")
    await publish(stage.kafka, lost, AUTH_SERVICE)
    await site.connected(2)
    site.edit("Bea", last_name="Meanwhile")
    site.delete("Ned")
    late = await notices.deliver()
    assert {(answer["outcome"], "must be reconnected" in answer["sentence"]) for answer in late} == {("later", True)}
    site.control.release(held)
    site.control.remove_fault(held)
    assert {answer["outcome"] for answer in await notices.answered(waiting)} <= {"later", "changed"}
    await stage.authorized(site, version=3)

    async def read() -> bool:
        names = [(await site.member(name))["last_name"] for name in ("Max", "Bea")]
        return names == ["Before", "Meanwhile"]

    await eventually(read)
    ned = await site.member("Ned")

    async def gone() -> bool:
        return bool(await site.database.value("SELECT state FROM link WHERE record_id = $1", ned["id"]) == "gone")

    await eventually(gone)


async def test_before_the_first_sync_notices_are_ignored_and_read_after_it(stage: Stage, outcomes: Outcomes) -> None:
    """An incremental run reads what was told meanwhile, and a full one reads everybody if somebody was deleted."""
    site = await stage.site()
    async with AIOKafkaProducer(bootstrap_servers=stage.kafka) as producer:
        notices = Notices(site, producer, outcomes)
        hold = site.fault({"kind": "hold", "when": "before"}, path="^/people/v2/people$")
        run = await site.start()
        await eventually(lambda: site.control.fault(hold)["holding"])
        those = [
            fact(site, resource_id=str(site.person("Bea")["id"])),
            fact(site, resource_id=str(site.person("Ned")["id"]), name="people.v2.events.person.destroyed"),
        ]
        answers = await notices.answered(await notices.tell(those))
        assert {answer["outcome"] for answer in answers} == {"ignored"}
        assert "first sync reads everybody" in answers[0]["sentence"]
        site.control.release(hold)
        site.control.remove_fault(hold)
        await site.until(run, "done")

    async def again() -> bool:
        rows = await site.database.fetch(
            "SELECT closed_at FROM gap WHERE organization_id = $1 AND gap_id LIKE 'first sync%'", site.organization_id
        )
        return len(rows) == 2 and all(row["closed_at"] for row in rows)

    await eventually(again, within=120)
    further = await site.database.fetch(
        "SELECT trigger, kind FROM run WHERE organization_id = $1 AND id <> $2::uuid", site.organization_id, run
    )
    assert ("change_notices", "full") in {(row["trigger"], row["kind"]) for row in further}


async def link_of(site: Site, member_id: Any) -> str:
    return str(await site.database.value("SELECT state FROM link WHERE record_id = $1", member_id))


async def test_a_deletion_told_while_its_person_is_being_added(notices: Notices) -> None:
    site = notices.site
    nora = site.create("Nora", "New", email="nora@example.org")
    await site.visible()
    hold = site.fault({"kind": "hold", "when": "after"}, path=f"^/people/v2/people/{nora}$", times=1)
    created = await notices.tell(notices.new())
    await eventually(lambda: site.control.fault(hold)["holding"])
    site.delete("Nora")
    gone = await notices.tell(notices.new())

    async def waiting() -> bool:
        query = "SELECT count(*) FROM hint WHERE organization_id = $1"
        return bool(await site.database.value(query, site.organization_id) == len(created) + len(gone))

    await eventually(waiting)
    site.control.release(hold)
    answers = await notices.answered([*created, *gone])
    assert {answer["outcome"] for answer in answers} == {"changed"}
    member = await site.member("Nora")
    assert await link_of(site, member["id"]) == "gone"
    assert {answer["record_id"] for answer in answers} == {str(member["id"])}


async def test_a_deletion_is_not_lost_behind_a_read_that_shows_an_earlier_change(notices: Notices) -> None:
    site = notices.site
    ned = await site.member("Ned")
    site.edit("Ned", last_name="Changed")
    lag = 1.2
    shown = time.monotonic() + lag
    await eventually(lambda: time.monotonic() > shown)
    site.control.change_settings(singles_lag_ms=lag * 1000)
    site.delete("Ned")
    try:
        answers = await notices.deliver()
    finally:
        site.control.change_settings(singles_lag_ms=LAG["singles_lag_ms"])
    assert {answer["outcome"] for answer in answers} == {"changed"}
    assert await link_of(site, ned["id"]) == "gone"


async def test_a_person_who_was_gone_and_is_back(notices: Notices) -> None:
    site = notices.site
    amy = await site.member("Amy")
    person = str(site.person("Amy")["id"])
    fault = site.fault({"kind": "respond", "status": 404}, path=f"^/people/v2/people/{person}$")
    destroyed = fact(site, resource_id=person, name="people.v2.events.person.destroyed", event_time=None)
    await notices.answered(await notices.tell([destroyed]))
    assert await link_of(site, amy["id"]) == "gone"
    site.control.remove_fault(fault)
    site.edit("Amy", last_name="Returned")
    await site.visible()
    mark = site.mark()
    (answer,) = await notices.deliver()
    assert (answer["outcome"], answer["record_id"]) == ("changed", str(amy["id"]))
    assert await link_of(site, amy["id"]) != "gone"
    assert (await site.member("Amy"))["last_name"] == "Returned"
    assert site.journal(mark, writes=True) == []
