"""Notices of mergers and deletions in any order, beside a lagging log: nobody ends too early, and nobody doubles."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from sync_harness.notices import Notices, Outcomes, listening, subscribe
from sync_harness.site import Site
from sync_harness.stage import Stage

from contracts.events.webhooks_delivery_v1 import WebhookReceived

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
    site.control.change_settings(mergers_lag_ms=0)


async def links_of(site: Site, member_id: Any) -> list[tuple[str, str, str | None]]:
    rows = await site.database.fetch("SELECT * FROM link WHERE record_id = $1", member_id)
    return [(row["state"], row["pco_id"], row["merged_into"]) for row in rows]


Order = Callable[[list[WebhookReceived]], list[list[WebhookReceived]]]


def _is_merger(one: WebhookReceived) -> bool:
    return one.resource_type == "PersonMerger"


def merger_first(those: list[WebhookReceived]) -> list[list[WebhookReceived]]:
    return [[one for one in those if _is_merger(one)], [one for one in those if not _is_merger(one)]]


def merger_last(those: list[WebhookReceived]) -> list[list[WebhookReceived]]:
    return merger_first(those)[::-1]


def together(those: list[WebhookReceived]) -> list[list[WebhookReceived]]:
    return [those]


async def _tell(notices: Notices, order: Order) -> dict[str, dict[str, Any]]:
    """Tell new notices in an order, a second apart, and wait for all answers; by name of the event the last one."""
    await notices.site.visible()
    told: list[WebhookReceived] = []
    for number, part in enumerate(order(notices.new())):
        if number:
            await asyncio.sleep(1)  # as the vendor sends the two: what is tested is the time between them
        told += await notices.tell(part)
    return {one.name: answer for one, answer in zip(told, await notices.answered(told), strict=True)}


@pytest.mark.parametrize("lag_ms", [0, 4000])
@pytest.mark.parametrize("order", [merger_first, merger_last, together])
async def test_the_link_follows_to_the_person_who_was_kept(notices: Notices, order: Order, lag_ms: int) -> None:
    """The kept person is new here, and must not become a second member."""
    site = notices.site
    site.control.change_settings(mergers_lag_ms=lag_ms)
    lee = await site.member("Lee")
    removed = str(site.person("Lee")["id"])
    keep = site.create("Otto", "Other", email="otto@example.org")
    site.merge(keep, removed)
    answers = await _tell(notices, order)
    assert await links_of(site, lee["id"]) == [("linked", keep, None)]
    members = [*await site.members("Lee"), *await site.members("Otto")]
    assert [one["id"] for one in members] == [lee["id"]]
    assert answers["people.v2.events.person_merger.created"]["record_id"] == str(lee["id"])
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []


@pytest.mark.parametrize("lag_ms", [0, 4000])
@pytest.mark.parametrize("order", [merger_first, merger_last])
async def test_two_members_whose_people_were_merged(notices: Notices, order: Order, lag_ms: int) -> None:
    site = notices.site
    site.control.change_settings(mergers_lag_ms=lag_ms)
    bea, bruno = await site.member("Bea"), await site.member("Bruno")
    keep, removed = str(site.person("Bea")["id"]), str(site.person("Bruno")["id"])
    site.merge(keep, removed)
    answers = await _tell(notices, order)
    assert await links_of(site, bea["id"]) == [("linked", keep, None)]
    assert answers["people.v2.events.person_merger.created"]["outcome"] == "changed"
    if lag_ms and order is merger_last:
        # The log is silent for longer than the horizon: only the notice of the merger tells that it lags.
        await site.sync()
    assert await links_of(site, bruno["id"]) == [("gone", removed, keep)]


@pytest.mark.parametrize("order", [merger_first, merger_last, together])
async def test_a_keeper_who_is_destroyed_later(notices: Notices, order: Order) -> None:
    site = notices.site
    site.control.change_settings(mergers_lag_ms=1000)
    lee = await site.member("Lee")
    removed = str(site.person("Lee")["id"])
    keep = site.create("Otto", "Other", email="otto@example.org")
    site.merge(keep, removed)
    site.delete("Otto")
    await _tell(notices, order)
    assert [state for state, _, _ in await links_of(site, lee["id"])] == ["gone"]
    assert [one["id"] for one in await site.members("Lee")] == [lee["id"]]
    assert await site.members("Otto") == []
    await site.believable()
    mark = site.mark()
    await site.sync()
    assert site.journal(mark, writes=True) == [], "nobody is added there again"
