"""An absent part must not count as empty (A3): in memberships, mergers and contacts it would end a link or lose an
edit.

Each answer lacks one part once or for a while. Nothing is decided by it, and the hidden part is not lost.
"""

from typing import Any

import pytest
from sync_harness.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def links_of(site: Site, member: dict[str, Any]) -> list[dict[str, Any]]:
    return await site.database.fetch("SELECT * FROM link WHERE record_id = $1", member["id"])


async def test_a_membership_without_its_person(site: Site) -> None:
    """The person who is to leave does not count as gone already."""
    await site.sync()
    await site.regroup("Baker Household", leave=["Bea"])
    omitted = site.control.omit(
        relationship="person",
        type="HouseholdMembership",
        organization_id=site.church.id,
        path="/household_memberships$",
        times=1,
    )
    await site.sync()
    assert site.control.fault(omitted)["acted"] >= 1
    await site.believable()
    await site.sync()
    assert site.household("Baker Household") == ["Bruno"]
    assert await site.members_of("Baker Household") == ["Bruno"]


async def test_a_merger_without_the_kept_person_is_read_again(site: Site) -> None:
    """Nobody counts as gone meanwhile, and a later complete entry does not move the log past the incomplete one."""
    await site.sync()
    before = await site.member("Bruno")
    bea = await site.member("Bea")
    keep = site.create("Bruno Otto", "Baker", email="otto@example.org")
    other = site.create("Bea Mia", "Baker", email="mia@example.org")
    site.merge(keep, str(site.person("Bruno")["id"]))
    entry = max((row["id"] for row in site.rows("PersonMerger")), key=int)
    omitted = site.control.omit(
        attribute="person_to_keep_id", type="PersonMerger", id=str(entry), organization_id=site.church.id
    )
    site.merge(other, str(site.person("Bea")["id"]))
    await site.visible()
    run = await site.sync()
    assert site.control.fault(omitted)["acted"] >= 1
    assert run["counts"].keys().isdisjoint({"gone", "merged"})
    assert [link["pco_id"] for link in await links_of(site, bea)] == [other]
    assert [link["state"] for link in await links_of(site, before)] == ["linked"]
    site.control.remove_fault(omitted)
    await site.believable()
    run = await site.sync()
    (link,) = await links_of(site, before)
    assert (run["counts"]["merged"], link["state"], link["pco_id"]) == (1, "linked", keep)


@pytest.mark.parametrize(
    ("type_", "path", "field", "attributes"),
    [
        ("Email", "/people/v2/emails$", "email", {"address": "bruno.new@example.org"}),
        ("PhoneNumber", "/people/v2/phone_numbers$", "phone", {"number": "(212) 555-0199"}),
        ("Address", "/people/v2/addresses$", "address", {"zip": "06299"}),
    ],
)
async def test_a_contact_without_its_person_is_read_again(
    site: Site, type_: str, path: str, field: str, attributes: dict[str, str]
) -> None:
    """The next incremental run that gets the contact's person takes the edit over."""
    await site.sync()
    name = "Alan" if type_ == "Address" else "Bruno"
    before = (await site.member(name))[field]
    site.edit_contact(name, type_, **attributes)
    await site.visible()
    omitted = site.control.omit(
        relationship="person", type=type_, organization_id=site.church.id, method="GET", path=path
    )
    await site.sync("incremental")
    site.control.remove_fault(omitted)
    site.edit("Vera", nickname="V")
    await site.visible()
    await site.sync("incremental")
    await site.sync("incremental")
    assert (await site.member(name))[field] != before
