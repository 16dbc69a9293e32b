"""Undo of every scope: what comes back, what stays and why, and that nothing moves by itself afterwards."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sync_harness.facts import publish
from sync_harness.process import Service
from sync_harness.site import Site
from sync_harness.stage import Stage

from contracts.conflicts import Choice
from contracts.events.conflicts_resolution_v1 import ConflictResolved
from contracts.values import CONFLICT_SERVICE, PEOPLE_SYNC
from people_sync.domain.sentences import UNDO_EXPIRED
from people_sync.storage.runs import UNDO
from people_sync.usecases import runs
from servicekit.db import make_sessions
from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

OLD_PHONE, NEW_PHONE, OTHER_PHONE = "(212) 555-0104", "(212) 555-0150", "(212) 555-0160"
Body = dict[str, Any]


async def planned(site: Site, **scope: str) -> Body:
    """The run that waits with the plan of an undo, or has ended since nothing can be put back."""
    run = await site.call("POST", "/undo", scope, status=202)
    assert (run["purpose"], run["kind"], run["trigger"]) == ("undo", "incremental", "person")
    return await site.until(run["id"], "waiting", "done")


async def approve(site: Site, run: Body, *, inactivate: bool = False) -> Body:
    """Approve the plan that is shown, and wait for the end of it."""
    answer = {"question": "undo", "answer": "approve", "digest": run["question"]["digest"], "inactivate": inactivate}
    await site.call("POST", f"/runs/{run['id']}/answer", answer, status=202)
    return await site.until(run["id"], "done")


async def undone(site: Site, *, inactivate: bool = False, **scope: str) -> Body:
    """Plan an undo, approve it, and see it through."""
    return await approve(site, await planned(site, **scope), inactivate=inactivate)


async def plan_of(site: Site, run: Body) -> dict[str, Body]:
    """Rows of the plan, by name."""
    rows = await site.database.fetch("SELECT * FROM change WHERE run_id = $1 ORDER BY id", UUID(run["id"]))
    return {row["name"]: row for row in rows}


async def nothing_more(site: Site) -> None:
    """The next sync writes nothing on either side."""
    await site.believable()
    mark = site.mark()
    count = "SELECT count(*) FROM effect WHERE organization_id = $1"
    before = await site.database.value(count, site.organization_id)
    for kind in ("incremental", "full"):
        assert (await site.sync(kind))["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []
    assert await site.database.value(count, site.organization_id) == before


def phone_there(site: Site, first_name: str = "Bruno") -> str:
    return str(site.contacts(first_name, "PhoneNumber")[0]["number"])


async def phone_here(site: Site, first_name: str = "Bruno") -> str | None:
    phone: str | None = (await site.member(first_name))["phone"]
    return phone


async def changed_there(site: Site) -> Body:
    """In sync; then Bruno's phone and Bea's name are edited in Planning Center, and a sync takes them over."""
    await site.sync()
    site.edit_contact("Bruno", "PhoneNumber", number=NEW_PHONE)
    site.edit("Bea", last_name="Bakerson")
    await site.visible()
    run = await site.sync()
    assert run["counts"]["updated_here"] == 2
    return run


# --- a run ----------------------------------------------------------------------------------------------------------


async def test_a_run_is_undone_on_both_sides(site: Site) -> None:
    run = await changed_there(site)
    undo = await planned(site, run_id=run["id"])
    question = undo["question"]
    assert (question["kind"], question["answers"]) == ("undo", ["approve", "stop"])
    assert question["counts"] == {"undone": 2, "may_be_mailed": 0}
    bruno = (await plan_of(site, undo))["Bruno Baker"]
    (field,) = bruno["plan"]
    shown = {name: field[name] for name in ("field", "agreed", "here", "there", "after", "does")}
    assert shown == {
        "field": "phone",
        "agreed": NEW_PHONE,
        "here": NEW_PHONE,
        "there": NEW_PHONE,
        "after": OLD_PHONE,
        "does": "both",
    }
    assert (phone_there(site), await phone_here(site)) == (NEW_PHONE, NEW_PHONE), (
        "nothing is done before it is approved"
    )
    ended = await approve(site, undo)
    assert ended["counts"] == {"undone": 2}
    assert (phone_there(site), await phone_here(site)) == (OLD_PHONE, OLD_PHONE)
    assert (site.person("Bea")["last_name"], (await site.member("Bea"))["last_name"]) == ("Baker", "Baker")
    member = await site.member("Bruno")
    items = (await site.call("GET", f"/members/{member['id']}/history"))["items"]
    here = next(one for one in items if one["side"] == "here")
    assert (here["by"], here["by_name"], here["rule"], here["run_id"]) == ("person", "Test User", "undone", undo["id"])
    await nothing_more(site)
