"""Planning Center mails people who sign in there when their email or phone changes. Approvals say so before."""

import pytest
from sync_harness.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


def signs_in(site: Site, *first_names: str) -> None:
    for first in first_names:
        login = f"{first.lower()}@example.org"
        raw = {"op": "set_raw", "type": "Person", "id": str(site.person(first)["id"])}
        site.mutate(raw | {"attributes": {"login_identifier": login}})


async def test_questions_say_how_many_may_be_mailed(site: Site) -> None:
    await site.add("Alan", "Abbot", email="alan@example.org", phone="(212) 555-0199")
    signs_in(site, "Alan", "Amy", "Carl")
    await site.visible()
    run = await site.until(await site.start(), "waiting")
    assert run["question"]["kind"] == "first_match"
    assert run["question"]["counts"]["may_be_mailed"] == 1
    await site.call("POST", f"/runs/{run['id']}/answer", {"question": "first_match", "answer": "planning_center"})
    await site.until(run["id"], "done")
    await site.settings(threshold_percent=1, threshold_minimum=1)
    # Amy signs in, though nothing of hers changed there since; Bruno does not sign in, Carl's name causes no mail.
    await site.change("Amy", phone="(212) 555-0111")
    await site.change("Bruno", phone="(212) 555-0112")
    await site.change("Carl", last_name="Ours")
    run = await site.until(await site.start(), "waiting")
    counts = run["question"]["counts"]
    assert (run["question"]["kind"], counts["updated_there"], counts["may_be_mailed"]) == ("threshold", 3, 1)
    await site.call("POST", f"/runs/{run['id']}/answer", {"question": "threshold", "answer": "stop"})
    await site.until(run["id"], "stopped")


async def test_every_login_is_stored_and_changes_no_record(site: Site) -> None:
    await site.settings(first_match="ours")
    await site.sync()
    await site.believable()
    signs_in(site, "Amy")
    await site.visible()
    mark = site.mark()
    run = await site.sync()
    assert run["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []
    noted = await site.database.fetch(
        "SELECT login, count(*) FROM remote WHERE organization_id = $1 AND kind = 'member' GROUP BY 1 ORDER BY 1",
        site.organization_id,
    )
    assert [row["login"] for row in noted] == [False, True]
    assert noted[1]["count"] == 1


async def test_a_bulk_answer_says_it_too(site: Site) -> None:
    for first in ("Hal", "Hope"):
        await site.add(first, "Held", email=f"{first.lower()}.here@example.org")
        site.create(first, "Held", email=f"{first.lower()}.there@example.org")
    signs_in(site, "Hal")
    await site.settings(first_match="ours")
    await site.visible()
    await site.sync()
    body = {"answer": "same"}
    shown = await site.call("POST", "/held-matches/bulk", body, status=201)
    assert (shown["count"], shown["may_be_mailed"]) == (2, 1)
    await site.settings(first_match="planning_center")
    shown = await site.call("POST", "/held-matches/bulk", body, status=201)
    assert (shown["count"], shown["may_be_mailed"]) == (2, 0)
