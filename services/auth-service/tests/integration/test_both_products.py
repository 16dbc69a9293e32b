"""Two products, for both possible behaviours: the second consent keeps the earlier grant, or ends it."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import asyncpg
from auth_support import Auth, Facts, dsn, new_church

from auth_service.main import create_app
from auth_service.resources import open_resources
from contracts.values import CALENDAR_SYNC
from servicekit.testing import eventually


def scope_of(authorize_url: str) -> set[str]:
    return set(parse_qs(urlsplit(authorize_url).query)["scope"][0].split())


async def test_where_grants_live_apart_disconnecting_one_leaves_the_other_alone(auth: Auth, facts: Facts) -> None:
    admin = new_church()
    url = await auth.begin(admin)
    assert scope_of(url) == {"openid", "people", "webhooks"}
    await auth.complete(admin, await auth.consent(url, auth.login()))
    assert scope_of(await auth.begin(admin, "calendar")) == {"openid", "calendar", "webhooks"}
    await auth.connect(admin, "calendar")
    assert (await auth.card(admin))["state"] == (await auth.card(admin, "calendar"))["state"] == "connected"
    assert not (await auth.card(admin))["shares_grant"]

    await auth.call(admin, "POST", "/calendar/disconnect")
    await auth.sql("UPDATE disconnect SET due_at = now()")
    receipt = await auth.receipt(admin, "calendar")
    assert {line["outcome"] for line in receipt["lines"][1:3]} == {"done"}
    lease = (await auth.lease(admin)).json()
    assert await auth.works(lease["access_token"])
    assert (await auth.card(admin, "calendar"))["state"] == "needs_authorization"
    await facts.names(
        admin,
        "people:ConnectionAuthorized",
        "calendar:ConnectionAuthorized",
        "calendar:ConnectionClosing",
        "calendar:ConnectionRevoked",
    )


async def test_where_the_second_consent_ends_the_first_grant_both_share_one(auth: Auth, facts: Facts) -> None:
    auth.simulator.control.change_settings(second_consent_ends_first_grant=True)
    admin = new_church()
    await auth.connect(admin)
    old = (await auth.lease(admin)).json()
    await auth.connect(admin, "calendar")

    # The end of the first grant is found and published at once.
    card = await auth.card(admin)
    assert card["state"] == "reconnect_required"
    assert "when the other product was connected" in card["reason"]
    assert (await auth.card(admin, "calendar"))["state"] == "connected"

    # The next consent asks for both, and both products use it.
    url = await auth.begin(admin)
    assert scope_of(url) == {"openid", "people", "calendar", "webhooks"}
    completed = (await auth.complete(admin, await auth.consent(url, auth.login()))).json()
    assert completed["card"]["shares_grant"]
    people, calendar = await auth.card(admin), await auth.card(admin, "calendar")
    assert (people["state"], people["generation"], people["shares_grant"]) == ("connected", 2, True)
    assert (calendar["state"], calendar["generation"], calendar["shares_grant"]) == ("connected", 2, True)
    leases = [
        (await auth.lease(admin)).json(),
        (await auth.lease(admin, "calendar", service=CALENDAR_SYNC)).json(),
    ]
    assert leases[0]["access_token"] == leases[1]["access_token"]
    assert leases[0]["token_generation"] > old["token_generation"]
    assert await auth.works(leases[0]["access_token"])

    # Disconnecting one product stops its use; the receipt says that the grant ends with the other.
    await auth.call(admin, "POST", "/calendar/disconnect")
    await auth.sql("UPDATE disconnect SET due_at = now()")
    receipt = await auth.receipt(admin, "calendar")
    assert [line["outcome"] for line in receipt["lines"][1:3]] == ["shared", "shared"]
    assert "ends with Planning Center People" in receipt["lines"][1]["sentence"]
    assert await auth.works(leases[0]["access_token"])
    assert (await auth.lease(admin, "calendar", service=CALENDAR_SYNC)).status_code == 409

    # Disconnecting the last product ends the grant.
    await auth.call(admin, "POST", "/people/disconnect")
    await auth.sql("UPDATE disconnect SET due_at = now() WHERE finished_at IS NULL")
    receipt = await auth.receipt(admin)
    assert [line["outcome"] for line in receipt["lines"][1:3]] == ["done", "done"]
    assert not await auth.works(leases[0]["access_token"])
    await facts.names(
        admin,
        "people:ConnectionAuthorized",
        "calendar:ConnectionAuthorized",
        "people:ReconnectRequired",
        "people:ConnectionAuthorized",
        "calendar:ConnectionAuthorized",
        "calendar:ConnectionClosing",
        "calendar:ConnectionRevoked",
        "people:ConnectionClosing",
        "people:ConnectionRevoked",
    )


async def test_a_shared_grant_ends_when_two_replicas_disconnect_both_products_at_once(auth: Auth) -> None:
    auth.simulator.control.change_settings(second_consent_ends_first_grant=True)
    admin = new_church()
    await auth.connect(admin)
    await auth.connect(admin, "calendar")
    await auth.connect(admin)
    lease = (await auth.lease(admin)).json()
    for product in ("people", "calendar"):
        await auth.call(admin, "POST", f"/{product}/disconnect")
    connection = await asyncpg.connect(dsn(auth.settings))
    replica = create_app(auth.settings).state.runtime
    async with open_resources(replica) as wired:
        # Both replicas have seen that the other product uses the grant, and wait for the lock to finish.
        async with connection.transaction():
            lock = "SELECT pg_advisory_xact_lock(hashtextextended('organization:' || $1, 0))"
            await connection.execute(lock, admin.organization_id)
            await auth.sql("UPDATE disconnect SET due_at = now()")

            async def waiting(count: int) -> bool:
                waiters = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                return len(await auth.sql(waiters)) == count

            await eventually(lambda: waiting(1))
            second = asyncio.create_task(wired.disconnecting.step())
            await eventually(lambda: waiting(2))
        await second
    await connection.close()
    receipts = [await auth.receipt(admin, product) for product in ("people", "calendar")]
    assert sorted(receipt["lines"][1]["outcome"] for receipt in receipts) == ["done", "shared"]
    assert not await auth.works(lease["access_token"])
    shared = "SELECT * FROM oauth_grant WHERE scope LIKE '%people%' AND scope LIKE '%calendar%'"
    assert await auth.sql(shared) == []


async def test_a_lease_finds_the_ended_grant_if_the_check_at_the_consent_failed(auth: Auth) -> None:
    auth.simulator.control.change_settings(second_consent_ends_first_grant=True)
    admin = new_church()
    await auth.connect(admin)
    lease = (await auth.lease(admin)).json()
    redirect = await auth.consent(await auth.begin(admin, "calendar"), auth.login())
    # The second token request checks the earlier grant.
    auth.simulator.control.add_fault({"kind": "respond", "status": 503, "body": "html"}, path="/oauth/token", nth=2)
    await auth.complete(admin, redirect)
    assert (await auth.card(admin))["state"] == "connected"
    assert (await auth.lease(admin, failed_generation=lease["token_generation"])).status_code == 409
    assert "when the other product was connected" in (await auth.card(admin))["reason"]
    assert scope_of(await auth.begin(admin)) == {"openid", "people", "calendar", "webhooks"}


async def test_a_shared_grant_that_is_refused_ends_both(auth: Auth, facts: Facts) -> None:
    auth.simulator.control.change_settings(second_consent_ends_first_grant=True)
    admin = new_church()
    await auth.connect(admin)
    await auth.connect(admin, "calendar")
    await auth.connect(admin)
    lease = (await auth.lease(admin)).json()
    auth.simulator.control.end_tokens(op="revoke", which="both")
    assert (await auth.lease(admin, failed_generation=lease["token_generation"])).status_code == 409

    async def both() -> bool:
        cards = [await auth.card(admin, product) for product in ("people", "calendar")]
        return [card["state"] for card in cards] == ["reconnect_required"] * 2

    await eventually(both)
    assert (await auth.connect(admin, "calendar"))["card"]["shares_grant"]
    assert (await auth.card(admin))["state"] == "connected"
