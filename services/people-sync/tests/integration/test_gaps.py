"""Windows in which notices were lost are read again, once, and told as reconciled."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from sync_harness.site import Site
from sync_harness.stage import Stage

from contracts.events.webhooks_subscription_v1 import DeliveryGapFound, SubscriptionsActive
from contracts.values import WEBHOOK_GATEWAY
from servicekit.testing import eventually
from servicekit.testing.facts import publish

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def care(kafka_server: str) -> AsyncIterator[AIOKafkaConsumer]:
    """What webhook-gateway is told of gaps from now on."""
    async with AIOKafkaConsumer(
        "webhooks.care.v1", bootstrap_servers=kafka_server, isolation_level="read_committed"
    ) as consumer:
        await consumer.seek_to_end()
        yield consumer


async def told(care: AIOKafkaConsumer, gap_id: str) -> dict[str, Any]:
    async for message in care:
        body: dict[str, Any] = json.loads(message.value)
        if body.get("gap_id") == gap_id:
            return body
    raise AssertionError


def gap(site: Site, gap_id: str, **values: Any) -> DeliveryGapFound:
    now = datetime.now(UTC)
    window = {"since": now - timedelta(hours=1), "until": now, "occurred_at": now}
    of_site = {"organization_id": site.organization_id, "version": 3, "product": "people", "generation": 1}
    return DeliveryGapFound.model_validate({**of_site, **window, "gap_id": gap_id, **values})


async def runs(site: Site) -> list[tuple[str, str, str]]:
    rows = await site.database.fetch(
        "SELECT trigger, kind, state FROM run WHERE organization_id = $1 ORDER BY created_at", site.organization_id
    )
    return [(row["trigger"], row["kind"], row["state"]) for row in rows]


async def test_a_gap_is_read_again_by_one_run(stage: Stage, site: Site, quiet: None, care: AIOKafkaConsumer) -> None:
    await site.sync()
    await site.believable()
    site.edit("Bea", last_name="Changed")
    site.delete("Ned")
    await site.visible()
    mark = site.mark()
    for _ in range(2):
        await publish(stage.kafka, gap(site, f"gap of {site.organization_id}"), WEBHOOK_GATEWAY)
    said = await told(care, f"gap of {site.organization_id}")
    assert (said["by"], said["product"], said["version"]) == ("people-sync", "people", 3)
    assert said["sentence"]
    assert (await site.run(said["run_id"]))["state"] == "done"
    assert (await site.member("Bea"))["last_name"] == "Changed"
    (link,) = await site.database.fetch("SELECT state FROM link WHERE record_id = $1", (await site.member("Ned"))["id"])
    assert link["state"] == "gone", "who was deleted there meanwhile is found too"
    assert (await runs(site))[1:] == [("change_notices", "full", "done")]
    assert site.journal(mark, writes=True) == []
    assert await site.database.value("SELECT count(*) FROM gap WHERE organization_id = $1", site.organization_id) == 0


async def test_a_gap_that_grew_before_it_was_read_again(
    stage: Stage, site: Site, quiet: None, care: AIOKafkaConsumer
) -> None:
    await site.sync()
    name = f"gap of {site.organization_id}"
    # A read that began before the gap's end does not close it, so this one is still open when it grows.
    until = datetime.now(UTC) + timedelta(seconds=30)
    await publish(stage.kafka, gap(site, name, until=until), WEBHOOK_GATEWAY)

    async def noted() -> bool:
        query = "SELECT count(*) FROM gap WHERE organization_id = $1"
        return bool(await site.database.value(query, site.organization_id))

    await eventually(noted)
    await publish(stage.kafka, gap(site, name, version=4), WEBHOOK_GATEWAY)
    assert (await told(care, name))["version"] == 4, "that of the gap as it is now, which alone closes it"


async def test_no_run_begins_for_a_gap_after_somebody_stopped_one(
    stage: Stage, site: Site, quiet: None, care: AIOKafkaConsumer
) -> None:
    await site.sync()
    hold = site.fault({"kind": "hold", "when": "before"}, path="^/people/v2/", times=1)
    run_id = await site.start()
    await eventually(lambda: site.control.fault(hold)["holding"])
    await site.call("POST", f"/runs/{run_id}/stop")
    site.control.release(hold)
    await site.until(run_id, "stopped")
    name = f"gap of {site.organization_id}"
    await publish(stage.kafka, gap(site, name), WEBHOOK_GATEWAY)

    async def looked_at() -> bool:
        query = "SELECT look_at > noted_at + interval '7 s' FROM gap WHERE organization_id = $1"
        return bool(await site.database.value(query, site.organization_id))

    await eventually(looked_at, within=30)
    assert len(await runs(site)) == 2
    run = await site.sync()
    assert (await told(care, name))["run_id"] == run["id"]


async def test_before_anybody_is_synced_nothing_was_missed(stage: Stage, care: AIOKafkaConsumer) -> None:
    site = await stage.site()
    await publish(stage.kafka, gap(site, f"gap of {site.organization_id}"), WEBHOOK_GATEWAY)
    said = await told(care, f"gap of {site.organization_id}")
    assert "first sync reads everybody" in said["sentence"]
    assert await runs(site) == []


async def test_the_first_subscriptions_lead_to_one_incremental_run(stage: Stage, site: Site, quiet: None) -> None:
    await site.sync()
    await site.believable()

    async def active(version: int) -> None:
        fact = SubscriptionsActive(
            organization_id=site.organization_id,
            version=version,
            product="people",
            generation=1,
            occurred_at=datetime.now(UTC),
            names=(),
        )
        await publish(stage.kafka, fact, WEBHOOK_GATEWAY)

    async def closed() -> bool:
        query = "SELECT closed_at FROM gap WHERE organization_id = $1"
        return await site.database.value(query, site.organization_id) is not None

    await active(1)
    await eventually(closed, within=60)
    assert (await runs(site))[1:] == [("change_notices", "incremental", "done")]
    await active(2)
    await publish(stage.kafka, gap(site, f"later gap of {site.organization_id}"), WEBHOOK_GATEWAY)

    async def another() -> bool:
        return len(await runs(site)) == 3 and (await runs(site))[-1][2] == "done"

    await eventually(another, within=60)
    assert (await runs(site))[-1] == ("change_notices", "full", "done"), "for the gap alone"


async def test_between_two_connections_somebody_may_have_been_deleted(stage: Stage, site: Site, quiet: None) -> None:
    await site.sync()
    await site.believable()
    ned = await site.member("Ned")
    site.delete("Ned")
    at = datetime.now(UTC)
    fact = SubscriptionsActive(
        organization_id=site.organization_id, version=7, product="people", generation=2, occurred_at=at, names=()
    )
    await publish(stage.kafka, fact, WEBHOOK_GATEWAY)

    async def gone() -> bool:
        return bool(await site.database.value("SELECT state FROM link WHERE record_id = $1", ned["id"]) == "gone")

    await eventually(gone, within=60)
    begun = "SELECT created_at FROM run WHERE organization_id = $1 AND trigger = 'change_notices' AND kind = 'full'"
    assert await site.database.value(begun, site.organization_id) > at + timedelta(seconds=site.horizon_seconds)
