"""A conflict shows when each side was edited, as far as known. The times decide nothing."""

from datetime import datetime
from typing import Any

import pytest
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from contracts.conflicts import ConflictField
from contracts.events.conflicts_resolution_v1 import ConflictResolved
from contracts.values import CONFLICT_SERVICE
from servicekit.testing import eventually
from servicekit.testing.facts import publish

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("quiet")]

NO_TIMES = """
    UPDATE conflict SET fields = (
        SELECT jsonb_agg(field - 'theirs_changed_at' - 'theirs_changed_before')
        FROM jsonb_array_elements(fields) AS field
    ) WHERE organization_id = $1
"""


async def newest(stage: Stage, site: Site) -> dict[str, Any]:
    """The last published state of the only conflict."""
    version = await site.database.value("SELECT version FROM conflict WHERE organization_id = $1", site.organization_id)
    return (await stage.told(site, "people.conflict.v1", version))[-1][1]


async def times_of(stage: Stage, site: Site) -> dict[str, ConflictField]:
    """The fields as last published."""
    fact = await newest(stage, site)
    return {field["field"]: ConflictField.model_validate(field) for field in fact["fields"]}


async def in_conflict(site: Site) -> None:
    """Bruno's phone and last name are edited on both sides, the birthdate only here."""
    await site.sync()
    await site.change("Bruno", phone="(212) 555-0150", last_name="Ours", birthdate="1980-02-03")
    site.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0160")
    site.edit("Bruno", last_name="Theirs")
    await site.visible()
    assert (await site.sync())["counts"]["conflict"] == 1


def edited_there(site: Site) -> tuple[datetime, datetime]:
    """Planning Center's times of Bruno's phone, and of Bruno."""
    phone, person = site.contacts("Bruno", "PhoneNumber")[0], site.person("Bruno")
    return datetime.fromisoformat(phone["updated_at"]), datetime.fromisoformat(person["updated_at"])


async def test_a_contact_has_its_own_time_and_a_person_has_one_for_all_fields(site: Site, stage: Stage) -> None:
    await in_conflict(site)
    fields = await times_of(stage, site)
    phone_at, person_at = edited_there(site)
    found = {name: (field.theirs_changed_at, field.theirs_changed_before) for name, field in fields.items()}
    assert found == {"phone": (phone_at, None), "last_name": (None, person_at), "birthdate": (None, None)}
    for field in fields.values():
        assert field.ours_changed_at is not None
        assert field.agreed_at is not None
        assert field.agreed_at < field.ours_changed_at


async def test_a_time_stays_while_the_value_does(site: Site, stage: Stage) -> None:
    """The person's time changes with every edit there, and the contact's with its label."""
    await in_conflict(site)
    before = await times_of(stage, site)
    (phone,) = site.contacts("Bruno", "PhoneNumber")
    later = "2031-01-01T00:00:00Z"
    site.control.set_raw(site.church.id, "PhoneNumber", phone["id"], location="Work", updated_at=later)
    site.control.set_raw(site.church.id, "Person", site.person("Bruno")["id"], middle_name="Maria", updated_at=later)
    await site.visible()
    await site.sync()
    await site.change("Bruno", last_name="Oursson")
    await site.sync()
    after = await times_of(stage, site)
    assert {name: field.theirs_changed_at for name, field in after.items()} == {
        name: field.theirs_changed_at for name, field in before.items()
    }
    assert after["last_name"].theirs_changed_before == before["last_name"].theirs_changed_before
    assert (after["last_name"].ours_changed_at or 0) > before["last_name"].ours_changed_at  # type: ignore[operator]
    site.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0170")
    await site.visible()
    await site.sync()
    moved = await times_of(stage, site)
    assert moved["phone"].theirs_changed_at == edited_there(site)[0]
    assert moved["last_name"].theirs_changed_before == before["last_name"].theirs_changed_before


async def test_a_deleted_contact_has_the_time_of_the_read_that_showed_it(site: Site, stage: Stage) -> None:
    await site.sync()
    await site.change("Bruno", phone="(212) 555-0150")
    (phone,) = site.contacts("Bruno", "PhoneNumber")
    site.mutate({"op": "delete", "type": "PhoneNumber", "id": phone["id"]})
    await site.visible()
    run = await site.sync()
    (field,) = (await times_of(stage, site)).values()
    assert (field.theirs, field.theirs_changed_at) == (None, None)
    assert field.theirs_changed_before is not None
    read = field.theirs_changed_before
    assert datetime.fromisoformat(run["started_at"]) <= read <= datetime.fromisoformat(run["finished_at"])


async def test_a_family_has_a_time_for_all_fields(site: Site, stage: Stage) -> None:
    await site.sync()
    family = await site.family_of("Baker Household")
    await site.call("PATCH", f"/families/{family['id']}", {"name": "Ours"})
    site.rename_household("Baker Household", "Theirs")
    await site.visible()
    await site.sync()
    (field,) = (await times_of(stage, site)).values()
    (home,) = [row for row in site.rows("Household") if row["name"] == "Theirs"]
    assert (field.theirs_changed_at, field.theirs_changed_before) == (None, datetime.fromisoformat(home["updated_at"]))


async def test_times_that_become_known_later_decide_nothing(site: Site, stage: Stage) -> None:
    """An older conflict without times gets them with the next sync, and a pending decision stays valid."""
    await in_conflict(site)
    expected = await times_of(stage, site)
    await site.database.fetch(NO_TIMES, site.organization_id)
    await site.sync()
    fact = await newest(stage, site)
    assert (fact["version"], fact["values_version"]) == (2, 1)
    assert await times_of(stage, site) == expected
    # Once is enough.
    await site.sync()
    assert await newest(stage, site) == fact
    await site.database.fetch(NO_TIMES, site.organization_id)
    asked = ConflictResolved(
        organization_id=site.organization_id,
        version=2,
        conflict_id=fact["conflict_id"],
        record_id=fact["record"]["id"],
        decision_id="0199a3c4-0000-7000-8000-000000000001",
        decided_on=1,
        choices=dict.fromkeys(expected, "theirs"),
        decided_by="user-ada",
        decided_by_name="Ada Moreno",
        decided_at=datetime.fromisoformat(fact["occurred_at"]),
    )
    await publish(stage.kafka, asked, CONFLICT_SERVICE)

    async def resolved() -> bool:
        states = "SELECT state FROM conflict WHERE organization_id = $1"
        return bool(await site.database.value(states, site.organization_id) == "resolved")

    await eventually(resolved, within=60)
    assert (await site.member("Bruno"))["last_name"] == "Theirs"


# Kind: the lag that shows the value from before the edit.
async def test_a_stale_read_changes_no_time(staging: Staging) -> None:
    async with staging("lagged-times", PCO_STALENESS_HORIZON_SECONDS=15) as stage:
        site = await stage.site()
        site.horizon_seconds = 15
        lags = {"singles_lag_ms": 0, "lists_lag_ms": 0, "filters_lag_ms": 0, "lag_past_ms": 30_000}
        site.control.change_settings(background_edits_per_second=0, **lags)
        await site.sync()
        await site.change("Bruno", phone="(212) 555-0150")
        site.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0160")
        assert (await site.sync())["counts"]["conflict"] == 1
        before = await times_of(stage, site)
        site.control.change_settings(lists_lag_ms=12_000, singles_lag_ms=12_000)
        await site.sync()
        assert await times_of(stage, site) == before


async def test_a_read_that_shows_an_earlier_state_is_not_taken_over(staging: Staging) -> None:
    async with staging("earlier", PCO_STALENESS_HORIZON_SECONDS=15) as stage:
        site = await stage.site()
        site.horizon_seconds = 15
        lags = {"singles_lag_ms": 0, "lists_lag_ms": 0, "filters_lag_ms": 0, "lag_past_ms": 60_000}
        site.control.change_settings(background_edits_per_second=0, **lags)
        await site.sync()
        bea = await site.member("Bea")
        site.edit("Bea", last_name="Newer")
        site.edit_contact("Bruno", "PhoneNumber", number="(212) 555-0160")
        await site.sync()
        bruno = await site.member("Bruno")
        assert "0160" in bruno["phone"]
        site.control.change_settings(lists_lag_ms=12_000, singles_lag_ms=12_000, filters_lag_ms=12_000)
        assert "updated_here" not in (await site.sync("full"))["counts"]
        await site.call("POST", f"/members/{bea['id']}/sync")
        await site.looked_at()
        assert (await site.member("Bea"))["last_name"] == "Newer"
        assert (await site.member("Bruno"))["version"] == bruno["version"]
        changes = "SELECT count(*) FROM effect WHERE organization_id = $1 AND field IN ('last_name', 'phone')"
        assert await site.database.value(changes, site.organization_id) == 2
