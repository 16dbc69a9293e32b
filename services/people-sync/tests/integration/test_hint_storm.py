"""A storm of notices: few reads, people at a screen do not wait, and no death of the process leaves one unanswered."""

import os
import random
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from sync_harness.church import rows_of_many
from sync_harness.notices import Notices, fact, listening
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from servicekit.testing import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

PEOPLE: Final = 500
HINTS: Final = 10_000
KILLS: Final = 20 if float(os.environ.get("SOAK_SECONDS", "0")) else int(os.environ.get("HINT_KILLS", "2"))
SEED: Final = int(os.environ.get("SOAK_SEED", "8"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def storming(staging: Staging) -> AsyncIterator[Stage]:
    """One church of 500 people and more, in Planning Center's own time: few requests a second."""
    async with staging("storm", rows=[rows_of_many(PEOPLE + 20)]) as made:
        made.simulator.control.change_settings(background_edits_per_second=0)
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def notices(storming: Stage) -> AsyncIterator[Notices]:
    """Its notices."""
    site = await storming.site()
    await site.sync()
    await site.believable()
    async with listening(storming.kafka) as outcomes, AIOKafkaProducer(bootstrap_servers=storming.kafka) as producer:
        yield Notices(site, producer, outcomes)


def people_of(site: Site) -> list[dict[str, Any]]:
    return sorted(site.rows("Person"), key=lambda row: int(row["id"]))[-PEOPLE:]


async def test_ten_thousand_notices_about_five_hundred_people(notices: Notices) -> None:
    site = notices.site
    site.control.change_settings(rate_limit=40)
    people = people_of(site)
    times = HINTS // PEOPLE
    those = [
        fact(site, resource_id=str(one["id"]), event_time=datetime.fromisoformat(one["updated_at"]))
        for _ in range(times)
        for one in people
    ]
    random.Random(SEED).shuffle(those)
    mark = site.mark()
    await notices.tell(those)

    async def begun() -> bool:
        found = await site.database.value("SELECT count(*) FROM hint WHERE organization_id = $1", site.organization_id)
        return bool(found > PEOPLE)

    await eventually(begun)
    bea = await site.member("Bea")
    asked = await site.call("POST", f"/members/{bea['id']}/sync")

    async def synced() -> bool:
        return bool((await site.call("GET", f"/syncs/{asked['id']}"))["state"] == "done")

    await eventually(synced)
    assert await begun(), "somebody at a screen has not waited for the storm"
    answers = await notices.outcomes.of(those, within=240)
    assert {answer["outcome"] for answer in answers} == {"unchanged"}
    assert all(len(notices.outcomes.found[one.version]) == 1 for one in those)
    entries = site.journal(mark)
    assert {entry["method"] for entry in entries} == {"GET"}
    print(f"reads: {len(entries)} for {len(those)} notices about {len(people)} people")  # noqa: T201 - read by people
    assert PEOPLE <= len(entries) <= PEOPLE * 1.5


async def _so_many(notices: Notices, count: float) -> None:
    """Wait for this many answers."""
    await eventually(lambda: len(notices.outcomes.found) >= count, within=120)


async def test_killed_at_any_instant_no_notice_is_left(storming: Stage, notices: Notices) -> None:
    site = notices.site
    site.control.change_settings(rate_limit=0)
    draw = random.Random(SEED)
    people = people_of(site)[:60]
    told = []
    for number in range(KILLS):
        for one in draw.sample(people, 10):
            site.mutate({"op": "edit", "id": one["id"], "attributes": {"last_name": f"Name{number}"}})
        those = [fact(site, resource_id=str(draw.choice(people)["id"])) for _ in range(400)]
        those += [fact(site, resource_id=str(one["id"])) for one in people]
        told += await notices.tell(those)
        await _so_many(notices, len(notices.outcomes.found) + draw.random() * len(those))
        await storming.service.kill()
        await storming.service.start()
    answers = await notices.outcomes.of(told, within=400)
    assert {answer["outcome"] for answer in answers} <= {"changed", "unchanged", "later"}
    again = [one for one in told if len(notices.outcomes.found[one.version]) > 1]
    assert again == [], "answered in the transaction that ends the refresh"
    assert await site.database.value("SELECT count(*) FROM hint") == 0
    there = {str(row["id"]): row["last_name"] for row in site.rows("Person")}
    here = await site.database.fetch(
        "SELECT last_name, pco_id FROM member JOIN link ON link.record_id = member.id WHERE link.organization_id = $1",
        site.organization_id,
    )
    assert {one["pco_id"]: one["last_name"] for one in here} == there


async def test_a_notice_that_cannot_be_handled_is_told_as_failed(notices: Notices) -> None:
    site = notices.site
    (person, *_) = people_of(site)
    bad = fact(site, resource_id=str(person["id"]), name="people.v2.events.person.updated\0")
    good = fact(site, resource_id=str(person["id"]))
    answers = await notices.answered(await notices.tell([bad, good]))
    assert [answer["outcome"] for answer in answers] == ["failed", "unchanged"]
    assert answers[0]["sentence"].startswith("Handling it failed unexpectedly")
