"""Planning Center refuses any kind of request for one record of many: that record is listed, all others sync."""

from typing import Any

import pytest
from sync_harness.site import Site

from people_sync.domain.sentences import OTHERS_TAKEN
from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
ADMINISTRATORS = "organization administrators"
WRITES = {
    "Bea": ("PATCH", "people/{Bea}"),
    "Ned": ("POST", "people/{Ned}/phone_numbers"),
    "Bruno": ("PATCH", "emails/[0-9]+"),
    "Dora": ("DELETE", "phone_numbers/[0-9]+"),
    "Nina": ("POST", "people"),
    "Deans": ("PATCH", "households/[0-9]+"),
    "Baker Household": ("POST", "households/[0-9]+/household_memberships"),
    "Abbot Household": ("DELETE", "households/[0-9]+/household_memberships/[0-9]+"),
    "Moor Household": ("POST", "households"),
}
"""By the first name or the family's name here, the one request that is refused: method and path."""


async def change_here(site: Site) -> None:
    """Edit so that each record of `WRITES` needs the request named there; Cora needs one that is accepted."""
    await site.change("Bea", last_name="Bakerson")
    await site.change("Ned", phone="(212) 555-0150")
    await site.change("Bruno", email="bb@example.org", gender="Female")
    await site.change("Dora", phone=None)
    await site.add("Nina", "New")
    await site.call("PATCH", f"/families/{(await site.family_of('Dean Household'))['id']}", {"name": "Deans"})
    await site.regroup("Baker Household", join=["Lee"])
    await site.regroup("Abbot Household", leave=["Amy"])
    await site.family("Moor Household", str((await site.member("Max"))["id"]))
    await site.change("Cora", last_name="Clarkson")


def refuse(site: Site, method: str, path: str, answer: dict[str, Any]) -> str:
    """Refuse a request. `path` may have first names in place of people's ids."""
    ids = {row["first_name"]: row["id"] for row in site.rows("Person")}
    for name, id_ in ids.items():
        path = path.replace(f"{{{name}}}", id_)
    return site.fault({"kind": "respond", **answer}, method=method, path=f"^/people/v2/{path}$")


async def refused_in(site: Site, run: dict[str, Any]) -> dict[str, str]:
    """The run's sentences about refused records, by first name or by family name."""
    names = await site.database.fetch(
        "SELECT id, first_name AS name FROM member WHERE organization_id = $1 "
        "UNION SELECT id, name FROM family WHERE organization_id = $1",
        site.organization_id,
    )
    name_of = {str(row["id"]): row["name"] for row in names}
    return {name_of[item["record_id"]]: item["sentence"] for item in await site.items(run["id"], "rejected")}


# Kind: one record's refusal ends a run.
@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ({"status": 403}, ADMINISTRATORS),
        ({"status": 409, "title": "Duplicate Record"}, "the next sync tries again"),
        ({"status": 422, "title": "Forbidden Attribute"}, "Change it in Planning Center"),
    ],
    ids=["403", "409", "forbidden attribute"],
)
async def test_a_refused_write_concerns_one_record(site: Site, answer: dict[str, Any], advice: str) -> None:
    await site.sync()
    await change_here(site)
    refusals = [refuse(site, *write, answer) for write in WRITES.values()]
    run = await site.sync()
    assert site.person("Cora")["last_name"] == "Clarkson"
    refused = await refused_in(site, run)
    assert refused.keys() == WRITES.keys()
    assert all(advice in sentence for sentence in refused.values()), refused
    assert {name for name, sentence in refused.items() if OTHERS_TAKEN in sentence} == {"Bruno"}
    if answer["status"] == 403:
        households = {name for name, sentence in refused.items() if "this household" in sentence}
        assert households == {name for name, (_, path) in WRITES.items() if path.startswith("households")}
    assert run["counts"]["rejected"] == len(WRITES)
    assert run["counts"].get("updated_there", 0) == 1
    for refusal in refusals:
        site.control.remove_fault(refusal)
    await site.believable()
    run = await site.sync()
    assert "rejected" not in run["counts"]
    assert (site.person("Bea")["last_name"], len(site.people("Nina"))) == ("Bakerson", 1)
    assert [row["number"] for row in site.contacts("Ned", "PhoneNumber")] == ["(212) 555-0150"]
    assert [row["address"] for row in site.contacts("Bruno", "Email")] == ["bb@example.org"]
    assert site.contacts("Dora", "PhoneNumber") == []
    assert site.household("Deans") == ["Dan", "Dora"]
    assert site.household("Baker Household") == ["Bea", "Bruno", "Lee"]
    assert site.household("Abbot Household") == ["Abel", "Alan"]
    assert site.household("Moor Household") == ["Max"]


# Kind: one record's refusal ends a run.
async def test_the_run_fails_only_if_the_role_is_gone(site: Site) -> None:
    """The same requests are refused, because the connected user may not write any more."""
    await site.sync()
    await change_here(site)
    site.control.set_role(site.church.id, site.church.admin_id, "Viewer")
    run = await site.until(await site.start(), "failed")
    assert "role Editor" in run["message"]
    assert await site.items(run["id"], "rejected") == []
    site.control.set_role(site.church.id, site.church.admin_id, "Manager", organization_administrator=True)
    await site.believable()
    assert "rejected" not in (await site.sync())["counts"]
    assert site.person("Cora")["last_name"] == "Clarkson"


# Kind: one record's refusal ends a run.
@pytest.mark.parametrize("kind", ["full", "incremental"])
async def test_a_refused_read_concerns_one_record(site: Site, kind: str) -> None:
    """A person or household whose single read is refused stays unchanged here, and does not count as gone."""
    await site.sync()
    await site.believable()
    ids = {row["first_name"]: row["id"] for row in site.rows("Person")}
    households = {row["name"]: row["id"] for row in site.rows("Household")}
    people = {"Bruno"}
    await site.change("Bruno", last_name="Bakerson")
    await site.call("PATCH", f"/families/{(await site.family_of('Dean Household'))['id']}", {"name": "Deans"})
    await site.change("Cora", last_name="Clarkson")
    if kind == "full":
        # People missing from a list, or without an e-mail in it, are read one by one.
        email = site.contacts("Ned", "Email")[0]["id"]
        site.control.omit(included="Email", id=email, organization_id=site.church.id)
        site.delete("Lee")
        site.mutate({"op": "delete", "type": "Household", "id": households["Clark Household"]})
        people |= {"Lee", "Ned"}
    else:
        site.edit("Max", last_name="Moorson")
        site.rename_household("Clark Household", "Clarks")
        people |= {"Max"}
    await site.visible()
    refused = "|".join(ids[name] for name in people)
    refusals = [refuse(site, "GET", f"people/({refused})", {"status": 403})]
    refused = "|".join(households[name] for name in ("Clark Household", "Dean Household"))
    refusals.append(refuse(site, "GET", f"households/({refused})", {"status": 403}))
    run = await site.sync(kind)
    assert site.person("Cora")["last_name"] == "Clarkson"
    items = await refused_in(site, run)
    assert items.keys() == people | {"Deans", "Clark Household"}
    assert all(ADMINISTRATORS in sentence for sentence in items.values()), items
    states = "SELECT state FROM link WHERE organization_id = $1 AND state <> 'linked'"
    assert await site.database.fetch(states, site.organization_id) == []
    if kind == "incremental":
        # They are read again even without an edit there.
        again = "SELECT pco_id FROM remote WHERE organization_id = $1 AND again"
        asked = {row["pco_id"] for row in await site.database.fetch(again, site.organization_id)}
        assert {ids["Max"], households["Clark Household"]} <= asked
    for refusal in refusals:
        site.control.remove_fault(refusal)
    if kind == "incremental":
        await site.believable()
        await site.sync(kind)
        assert (await site.member("Max"))["last_name"] == "Moorson"
        assert await site.members_of("Clarks") == ["Carl", "Cora"]


async def sync_now(site: Site, path: str) -> dict[str, Any]:
    """Sync one record now, and wait for its end."""
    asked = await site.call("POST", path, status=202)

    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = await site.call("GET", f"/syncs/{asked['id']}")
        return found if found["state"] == "done" else None

    found: dict[str, Any] = await eventually(ended, every=0.1)
    return found


# Kind: one record's refusal ends the sync of others.
async def test_a_refused_person_is_one_line_of_the_familys_sync(site: Site) -> None:
    """One member's read and one member's creation are refused; the third is still written."""
    await site.sync()
    await site.believable()
    nina = await site.add("Nina", "New")
    family = await site.family_of("Clark Household")
    await site.call("PATCH", f"/families/{family['id']}", {"name": "Clarks"})
    await site.regroup("Clarks", join=["Nina"])
    await site.change("Cora", last_name="Clarkson")
    refuse(site, "GET", "people/{Carl}", {"status": 403})
    refuse(site, "POST", "people", {"status": 403})
    found = await sync_now(site, f"/families/{family['id']}/sync")
    assert found["outcome"] == "updated_there"
    assert "Carl Clark: Planning Center does not show this person" in found["sentence"]
    assert "Nina New: Planning Center lets only its organization administrators" in found["sentence"]
    assert site.household("Clarks") == ["Carl", "Cora"]
    assert site.person("Cora")["last_name"] == "Clarkson"
    assert (await sync_now(site, f"/members/{nina}/sync"))["outcome"] == "rejected"
