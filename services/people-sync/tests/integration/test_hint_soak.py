"""Edits on both sides, hour by hour, with all notices coming back: one write per side for each edit, and no echo."""

import os
import random
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from sync_harness.notices import Notices, listening, subscribe
from sync_harness.site import Site
from sync_harness.stage import Stage

HOURS: Final = 24 if float(os.environ.get("SOAK_SECONDS", "0")) else int(os.environ.get("HINT_HOURS", "3"))
SEED: Final = int(os.environ.get("SOAK_SEED", "8"))
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300 + 60 * HOURS)]
NAMES: Final = ("Bea", "Bruno", "Carl", "Cora", "Dora", "Amy", "Max")


@pytest_asyncio.fixture(loop_scope="session")
async def notices(stage: Stage, site: Site, quiet: None) -> AsyncIterator[Notices]:
    """A synced church whose notices come here."""
    await site.sync()
    await site.believable()
    await subscribe(site, stage.simulator.base_url)
    async with listening(stage.kafka) as outcomes, AIOKafkaProducer(bootstrap_servers=stage.kafka) as producer:
        yield Notices(site, producer, outcomes)


async def _effects(site: Site) -> int:
    """Changes here that Planning Center caused."""
    query = "SELECT count(*) FROM effect WHERE organization_id = $1 AND side = 'here' AND by = 'planning_center'"
    return int(await site.database.value(query, site.organization_id))


async def _quiet(notices: Notices) -> None:
    """Hand over notices until none is left: those of our own writes come back too."""
    site = notices.site
    while True:
        await site.visible()
        await site.looked_at()
        those = notices.new()
        if not those:
            return
        await notices.answered(await notices.tell(those))


async def test_one_write_for_each_edit_and_no_echo(notices: Notices) -> None:
    site, draw = notices.site, random.Random(SEED)
    mark, effects = site.mark(), await _effects(site)
    here = there = 0
    for hour in range(HOURS):
        for number, name in enumerate(draw.sample(NAMES, 4)):
            value = f"Hour{hour}{number}"
            if draw.random() < 0.5:
                await site.change(name, last_name=value)
                here += 1
            else:
                site.edit(name, last_name=value)
                there += 1
        await _quiet(notices)
        await site.believable()
        await site.sync("incremental")
        await _quiet(notices)
        await site.believable()
    writes = site.journal(mark, writes=True)
    assert len(writes) <= here, writes
    assert await _effects(site) - effects <= there
    assert (len(writes), await _effects(site) - effects) == (here, there), "each edit has arrived"
    mark, effects = site.mark(), await _effects(site)
    await site.sync("full")
    await _quiet(notices)
    assert (site.journal(mark, writes=True), await _effects(site)) == ([], effects)
    assert await site.database.value("SELECT count(*) FROM hint WHERE organization_id = $1", site.organization_id) == 0
    assert {one.version for one in notices.told} <= notices.outcomes.found.keys()
    for row in await site.database.fetch(
        "SELECT first_name, last_name FROM member WHERE organization_id = $1", site.organization_id
    ):
        assert site.person(row["first_name"])["last_name"] == row["last_name"]
