"""Notices of Planning Center: what changed there is here soon, and each notice is answered."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from sync_harness.notices import Notices, Outcomes, fact, listening, subscribe
from sync_harness.site import Site
from sync_harness.stage import Stage

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
