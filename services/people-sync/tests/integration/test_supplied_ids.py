"""Planning Center's ids supplied by the platform: ids of nobody there, and of people merged since."""

import time
from typing import Any

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOBODY = "999999"
ZED = {"external_id": "x1", "first_name": "Zed", "last_name": "Zorn"}


async def supply(site: Site, pco_id: str, household_id: str | None = None) -> dict[str, Any]:
    """The platform sends Zed with an id, and his family with one if given."""
    family = {"external_id": "f1", "name": "Zorns", "member_external_ids": ["x1"], "pco_id": household_id}
    body = {"members": [ZED | {"pco_id": pco_id}], "families": [family] if household_id else []}
    result: dict[str, Any] = await site.call("PUT", "/bulk", body)
    return result


async def links_of(site: Site, *record_ids: Any) -> list[tuple[str, str]]:
    query = "SELECT state, pco_id FROM link WHERE organization_id = $1 AND record_id::text = ANY($2) ORDER BY kind DESC"
    rows = await site.database.fetch(query, site.organization_id, [str(one) for one in record_ids])
    return [(row["state"], row["pco_id"]) for row in rows]


# Kind: an impossible request is retried for ever and never reported.
@pytest.mark.parametrize("alone", [False, True])
async def test_an_id_of_nobody_there_is_reported_once(site: Site, *, alone: bool) -> None:
    await site.sync()
    await site.believable()
    await supply(site, NOBODY, NOBODY)
    zed, zorns = await site.member("Zed"), await site.family_of("Zorns")
    told: dict[str, str] = {}
    if alone:
        for kind, record in (("member", zed), ("family", zorns)):
            path = "members" if kind == "member" else "families"
            asked = await site.call("POST", f"/{path}/{record['id']}/sync", status=202)

            async def ended(id_: str = asked["id"]) -> dict[str, Any] | None:
                found: dict[str, Any] = await site.call("GET", f"/syncs/{id_}")
                return found if found["outcome"] else None

            end = await eventually(ended, within=60)
            told[kind] = end["sentence"]
            assert end["outcome"] == "gone"
    else:
        run = await site.sync()
        told = {item["record_kind"]: item["sentence"] for item in await site.items(run["id"], "gone")}
    assert f"gave this member the number {NOBODY}, and no person in Planning Center has it" in told["member"]
    assert f"gave this family the number {NOBODY}, and no household in Planning Center has it" in told["family"]
    assert all(sentence.startswith("The platform gave") for sentence in told.values())
    assert all("Correct the number on the platform and send it again" in sentence for sentence in told.values())
    assert await links_of(site, zed["id"], zorns["id"]) == [("gone", NOBODY)] * 2
    assert site.people("Zed") == []
    for kind_of_run in ("full", "incremental"):
        mark = site.mark()
        run = await site.sync(kind_of_run)
        assert run["counts"].keys() <= {"unchanged"}
        assert [entry["path"] for entry in site.journal(mark) if NOBODY in entry["path"]] == []


# Kind: impossible advice.
@pytest.mark.parametrize("remedy", ["number", "create again"])
async def test_an_id_of_nobody_there_can_be_corrected(site: Site, remedy: str) -> None:
    await site.sync()
    await site.believable()
    await supply(site, NOBODY, NOBODY)
    await site.sync()
    zed, zorns = await site.member("Zed"), await site.family_of("Zorns")
    assert (await supply(site, NOBODY, NOBODY))["unchanged"] == 2
    if remedy == "number":
        person = site.create("Zachary", "Zorn")
        household = site.control.create_household(site.church.id, "Zorns", person)
        site.edit("Zachary", last_name="Zornson")
        await site.visible()
        result = await supply(site, person, household)
        assert (result["updated"], result["rejected"]) == (2, [])
        assert await links_of(site, zed["id"], zorns["id"]) == [("supplied", person), ("supplied", household)]
        await site.settings(first_match="planning_center")
        await site.sync()
        assert await links_of(site, zed["id"], zorns["id"]) == [("linked", person), ("linked", household)]
        assert str((await site.member("Zachary"))["id"]) == str(zed["id"])
    else:
        await site.call("POST", f"/members/{zed['id']}/create-again")
        await eventually(lambda: len(site.people("Zed")) == 1)

        async def told() -> list[tuple[str, str, str | None]]:
            items = (await site.call("GET", f"/members/{zed['id']}/history"))["items"]
            return [(one["field"], one["by"], one["by_name"]) for one in items]

        async def created() -> bool:
            return "created" in {field for field, _, _ in await told()}

        await eventually(created)
        asked = [(field, "person", "Test User") for field in ("created", "create_again")]
        assert [one for one in await told() if one[1] == "person"] == asked


async def merged_long_ago(site: Site) -> tuple[str, str]:
    """A person there, merged before the log's last read entry; gives the ids of the removed and the kept person."""
    removed = site.create("Zed", "Zorn")
    between = site.create("Zed", "Zorn")
    kept = site.create("Zed", "Zorn", email="zed@example.org")
    site.merge(between, removed)
    site.merge(kept, between)
    later = time.monotonic() + site.horizon_seconds + 2  # plus a second, the log's precision
    await eventually(lambda: time.monotonic() > later)
    await site.sync()
    assert len(await site.members("Zed")) == 1
    site.merge(str(site.person("Max")["id"]), str(site.person("Ned")["id"]))
    await site.visible()
    await site.sync()
    return removed, kept


# Kind: outdated data loses an identity.
async def test_the_id_of_a_merged_person_leads_to_the_kept_one(site: Site) -> None:
    removed, kept = await merged_long_ago(site)
    before = await site.member("Zed")
    result = await supply(site, removed)
    assert (result["updated"], result["rejected"]) == (1, [])
    assert (await supply(site, removed))["unchanged"] == 1
    await site.settings(first_match="planning_center")
    await site.sync()
    (zed,) = await site.members("Zed")
    assert (zed["id"], zed["external_id"]) == (before["id"], "x1")
    assert await links_of(site, zed["id"]) == [("linked", kept)]
    assert len(site.people("Zed")) == 1


# Kind: outdated data loses an identity.
@pytest.mark.parametrize("kind", ["full", "incremental"])
async def test_a_link_to_a_merged_person_follows(site: Site, kind: str) -> None:
    """As with an id supplied before a reconnect."""
    removed, kept = await merged_long_ago(site)
    pulled = await site.member("Zed")
    ours = await site.add("Zed", "Zorn")
    await site.database.fetch(
        "INSERT INTO link (organization_id, pco_organization_id, kind, record_id, pco_id, state, agreed, agreed_at, "
        "kept_different, contacts, compared_version, create_again) SELECT organization_id, pco_organization_id, kind, "
        "$2::text::uuid, $3, 'supplied', '{}', '{}', '{}', '{}', 0, false FROM link WHERE record_id::text = $1",
        str(pulled["id"]),
        ours,
        removed,
    )
    await site.settings(first_match="planning_center")
    run = await site.sync(kind)
    (item,) = await site.items(run["id"], "merged")
    assert "Zed Zorn was added here before" in item["sentence"]
    (zed,) = await site.members("Zed")
    assert str(zed["id"]) == ours
    assert await links_of(site, ours) == [("linked", kept)]
    assert len(site.people("Zed")) == 1
