"""Disconnecting: the sequence, its receipt, and coming back."""

import asyncio
from typing import Any

from auth_support import Auth, Browser, Facts, new_church

from contracts.events.webhooks_subscription_v1 import SubscriptionsRemoved
from contracts.values import AUTH_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY
from servicekit.testing import eventually


def removed(browser: Browser, *, generation: int, count: int = 0, left_behind: tuple[str, ...] = ()) -> Any:
    """webhook-gateway's report."""
    from datetime import UTC, datetime  # noqa: PLC0415

    return SubscriptionsRemoved(
        organization_id=browser.organization_id,
        version=1,
        product="people",
        generation=generation,
        occurred_at=datetime.now(UTC),
        removed=count,
        left_behind=left_behind,
    )


def outcomes(receipt: dict[str, Any]) -> dict[str, str]:
    return {line["step"]: line["outcome"] for line in receipt["lines"]}


def sentence(receipt: dict[str, Any], step: str) -> str:
    return str(next(line["sentence"] for line in receipt["lines"] if line["step"] == step))


async def test_disconnect_in_order_with_a_receipt(auth: Auth, facts: Facts) -> None:
    admin = new_church()
    await auth.connect(admin)
    lease = (await auth.lease(admin)).json()

    begun = await auth.call(admin, "POST", "/people/disconnect")
    assert begun.status_code == 202
    assert set(outcomes(begun.json()).values()) == {"pending"}
    assert (await auth.card(admin))["state"] == "closing"
    await facts.names(admin, "people:ConnectionAuthorized", "people:ConnectionClosing")

    # No lease for new work, but one for removing the subscriptions.
    refused = await auth.lease(admin)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/closing")
    assert (await auth.lease(admin, service=WEBHOOK_GATEWAY)).status_code == 200
    assert await auth.works(lease["access_token"])

    # A second call joins.
    again = await auth.call(admin, "POST", "/people/disconnect")
    assert again.json()["requested_at"] == begun.json()["requested_at"]

    await facts.publish(removed(admin, generation=7), WEBHOOK_GATEWAY)  # of another generation, so ignored
    await facts.publish(removed(admin, generation=1, count=3), WEBHOOK_GATEWAY)
    receipt = await auth.receipt(admin)
    assert outcomes(receipt) == {
        "subscriptions": "done",
        "refresh_token": "done",
        "access_token": "done",
        "schedules": "done",
        "records": "done",
    }
    assert sentence(receipt, "subscriptions").startswith("3 change notices removed")
    assert "members, families and links stay" in sentence(receipt, "records")
    assert not await auth.works(lease["access_token"])
    grants = auth.simulator.control.grants()
    assert sum(grant["live_access_tokens"] + grant["live_refresh_tokens"] for grant in grants) == 0
    assert await auth.sql("SELECT * FROM oauth_grant") == []

    card = await auth.card(admin)
    assert (card["state"], card["pco_organization_name"]) == ("not_connected", auth.church_name())
    assert (await auth.lease(admin, service=WEBHOOK_GATEWAY)).status_code == 409
    events = await facts.names(
        admin, "people:ConnectionAuthorized", "people:ConnectionClosing", "people:ConnectionRevoked"
    )
    assert [event.version for event in events] == [1, 2, 3]
    assert {event.generation for event in events} == {1}
    # A later call shows the last receipt.
    assert (await auth.call(admin, "POST", "/people/disconnect")).json() == receipt


async def test_subscriptions_left_behind_are_named(auth: Auth, facts: Facts) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.call(admin, "POST", "/people/disconnect")
    await facts.publish(removed(admin, generation=1, left_behind=("people.v2.events.person.updated",)), WEBHOOK_GATEWAY)
    receipt = await auth.receipt(admin)
    assert outcomes(receipt)["subscriptions"] == "failed"
    assert "people.v2.events.person.updated" in sentence(receipt, "subscriptions")


async def test_given_up_on_after_the_deadline_even_if_the_process_died(auth: Auth, facts: Facts) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.call(admin, "POST", "/people/disconnect")
    # The deadline is a row: any running process takes the next step after it.
    await auth.sql("UPDATE disconnect SET due_at = now() WHERE organization_id = $1", admin.organization_id)
    receipt = await auth.receipt(admin)
    assert outcomes(receipt)["subscriptions"] == "failed"
    assert "given up" in sentence(receipt, "subscriptions")
    assert outcomes(receipt)["refresh_token"] == "done"


async def test_killed_while_revoking_another_replica_goes_on(auth: Auth, facts: Facts) -> None:
    """Two further processes, the first of which dies in the middle of the revocation."""
    admin = new_church()
    await auth.connect(admin)
    fault = auth.simulator.control.add_fault({"kind": "hold", "when": "after"}, path="/oauth/revoke", times=1)
    await auth.call(admin, "POST", "/people/disconnect")
    settings = auth.settings.model_copy(update={"pco_request_timeout_seconds": 0.5})
    async with auth.process(settings) as victim:
        # Either process may take the step; a short timeout lets the survivor take it over soon.
        await auth.sql("UPDATE disconnect SET due_at = now() WHERE organization_id = $1", admin.organization_id)
        await eventually(lambda: auth.simulator.control.fault(fault)["acted"] == 1)
        victim.kill()
    auth.simulator.control.clear_faults()
    await auth.sql("UPDATE disconnect SET due_at = now() WHERE organization_id = $1", admin.organization_id)
    receipt = await auth.receipt(admin)
    assert outcomes(receipt)["refresh_token"] == "done"
    events = await facts.names(
        admin, "people:ConnectionAuthorized", "people:ConnectionClosing", "people:ConnectionRevoked"
    )
    assert len(events) == 3


async def test_vendor_away_while_revoking_is_tried_again_then_said(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    fault = auth.simulator.control.add_fault(
        {"kind": "respond", "status": 503, "body": "html"}, path="/oauth/(revoke|introspect)", times=2
    )
    await auth.call(admin, "POST", "/people/disconnect")
    await auth.sql("UPDATE disconnect SET due_at = now()")
    receipt = await auth.receipt(admin)
    assert auth.simulator.control.fault(fault)["acted"] == 2
    assert outcomes(receipt)["refresh_token"] == "done"

    await auth.connect(admin)
    # 401: our own client credentials are refused, so no token was revoked.
    auth.simulator.control.add_fault({"kind": "respond", "status": 401, "body": "html"}, path="/oauth/revoke")
    await auth.call(admin, "POST", "/people/disconnect")
    await auth.sql("UPDATE disconnect SET due_at = now(), attempts = 4 WHERE finished_at IS NULL")
    receipt = await auth.receipt(admin)
    assert (outcomes(receipt)["refresh_token"], outcomes(receipt)["access_token"]) == ("failed", "failed")
    assert "remove our application" in sentence(receipt, "refresh_token")
    assert (await auth.card(admin))["state"] == "not_connected"
    assert await auth.sql("SELECT * FROM oauth_grant") == []


async def test_tokens_whose_key_is_gone_do_not_keep_a_church_closing_for_ever(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.sql("UPDATE oauth_grant SET refresh_token = 'unreadable'")
    await auth.call(admin, "POST", "/people/disconnect")
    await auth.sql("UPDATE disconnect SET due_at = now(), attempts = 4")
    receipt = await auth.receipt(admin)
    assert (outcomes(receipt)["refresh_token"], outcomes(receipt)["access_token"]) == ("failed", "failed")
    assert "could not be read" in sentence(receipt, "refresh_token")
    assert "remove our application" in sentence(receipt, "refresh_token")
    await auth.connect(admin)


async def test_disconnect_while_a_reconnect_is_required(auth: Auth, facts: Facts) -> None:
    admin = new_church()
    await auth.connect(admin)
    lease = (await auth.lease(admin)).json()
    auth.simulator.control.end_tokens(op="revoke", which="both")
    await auth.lease(admin, failed_generation=lease["token_generation"])
    assert (await auth.card(admin))["state"] == "reconnect_required"
    await auth.call(admin, "POST", "/people/disconnect")
    assert (await auth.lease(admin, service=WEBHOOK_GATEWAY)).status_code == 409
    await facts.publish(removed(admin, generation=1), WEBHOOK_GATEWAY)
    receipt = await auth.receipt(admin)
    assert outcomes(receipt)["refresh_token"] == "not_needed"
    assert "already ended" in sentence(receipt, "refresh_token")


async def test_a_refresh_cannot_outlive_the_disconnect(auth: Auth) -> None:
    """A refresh in flight during the revocation: no live token remains at Planning Center."""
    admin = new_church()
    await auth.connect(admin)
    await auth.expire_access_token(admin)
    fault = auth.simulator.control.add_fault({"kind": "hold", "when": "after"}, path="/oauth/token", times=1)
    refreshing = asyncio.create_task(auth.lease(admin))
    await eventually(lambda: auth.simulator.control.fault(fault)["holding"] == 1)
    await auth.call(admin, "POST", "/people/disconnect")
    await auth.sql("UPDATE disconnect SET due_at = now() WHERE finished_at IS NULL")

    async def disconnect_waits() -> bool:
        return bool(await auth.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))

    await eventually(disconnect_waits)
    auth.simulator.control.release(fault)
    await auth.receipt(admin)
    await refreshing
    grants = auth.simulator.control.grants()
    assert sum(grant["live_access_tokens"] + grant["live_refresh_tokens"] for grant in grants) == 0


async def test_a_pair_that_comes_after_the_disconnect_is_given_back(auth: Auth) -> None:
    """The refresh has lost its lock, so the disconnect did not wait for its answer."""
    admin = new_church()
    await auth.connect(admin)
    await auth.expire_access_token(admin)
    fault = auth.simulator.control.add_fault({"kind": "hold", "when": "after"}, path="/oauth/token", times=1)
    refreshing = asyncio.create_task(auth.lease(admin))
    await eventually(lambda: auth.simulator.control.fault(fault)["holding"] == 1)
    await auth.lose_locks()
    await disconnected(auth, admin)
    auth.simulator.control.release(fault)
    assert (await refreshing).status_code == 409
    grants = auth.simulator.control.grants()
    assert sum(grant["live_access_tokens"] + grant["live_refresh_tokens"] for grant in grants) == 0


async def test_never_connected(auth: Auth) -> None:
    admin = new_church()
    assert (await auth.call(admin, "POST", "/people/disconnect", ok=False)).status_code == 409
    assert (await auth.call(admin, "GET", "/people/receipt", ok=False)).status_code == 404
    assert (await auth.call(admin, "POST", "/nonsense/disconnect", ok=False)).status_code == 422


async def disconnected(auth: Auth, admin: Browser, product: str = "people") -> None:
    await auth.call(admin, "POST", f"/{product}/disconnect")
    await auth.sql("UPDATE disconnect SET due_at = now() WHERE finished_at IS NULL")
    await auth.receipt(admin, product)


async def test_reconnect_of_the_same_organization_and_refusal_of_another(auth: Auth, facts: Facts) -> None:
    admin = new_church()
    await auth.connect(admin)
    await disconnected(auth, admin)

    redirect = await auth.consent(await auth.begin(admin), auth.login(church=1))
    refused = await auth.complete(admin, redirect, ok=False)
    assert refused.json()["type"] == "/problems/organization-mismatch"
    assert auth.church_name(0) in refused.json()["detail"]
    assert auth.church_name(1) in refused.json()["detail"]
    assert "Connect another organization" in refused.json()["detail"]

    completed = await auth.connect(admin)
    assert completed["reconnected"] is True
    assert completed["card"]["generation"] == 2
    events = await facts.names(
        admin,
        "people:ConnectionAuthorized",
        "people:ConnectionClosing",
        "people:ConnectionRevoked",
        "people:ConnectionAuthorized",
    )
    assert [event.version for event in events] == [1, 2, 3, 4]
    assert events[-1].generation == 2


async def test_links_are_reset_by_typing_the_name(auth: Auth) -> None:
    admin = new_church()
    body = {"confirmation": auth.church_name()}
    assert (await auth.call(admin, "POST", "/forget-organization", body, ok=False)).status_code == 409
    await auth.connect(admin)
    connected = await auth.call(admin, "POST", "/forget-organization", body, ok=False)
    assert (connected.status_code, connected.json()["type"]) == (409, "/problems/connected")
    await disconnected(auth, admin)
    wrong = await auth.call(admin, "POST", "/forget-organization", {"confirmation": "Another"}, ok=False)
    assert wrong.status_code == 422
    staff = Browser(admin.organization_id, roles=("staff",))
    assert (await auth.call(staff, "POST", "/forget-organization", body, ok=False)).status_code == 403
    cards = (await auth.call(admin, "POST", "/forget-organization", body)).json()
    assert cards["people"]["pco_organization_name"] is None
    completed = await auth.connect(admin, login=auth.login(church=1))
    assert completed["reconnected"] is False
    assert completed["card"]["generation"] == 2


async def test_a_disconnected_organization_can_move_to_another_church(auth: Auth) -> None:
    first, second = new_church(), new_church()
    await auth.connect(first)
    await disconnected(auth, first)
    await auth.connect(second)
    redirect = await auth.consent(await auth.begin(first), auth.login())
    assert (await auth.complete(first, redirect, ok=False)).json()["type"] == "/problems/organization-taken"


async def test_other_churches_see_nothing(auth: Auth) -> None:
    admin, stranger = new_church(), new_church()
    await auth.connect(admin)
    await auth.call(admin, "POST", "/people/disconnect")
    cards = (await auth.call(stranger, "GET", "")).json()
    assert cards["people"]["state"] == cards["calendar"]["state"] == "not_connected"
    assert auth.church_name() not in str(cards)
    assert (await auth.call(stranger, "GET", "/people/receipt", ok=False)).status_code == 404
    assert (await auth.call(stranger, "POST", "/people/disconnect", ok=False)).status_code == 409
    assert (await auth.card(admin))["state"] == "closing"
    # Neither a service's token nor a user's token for another service is accepted.
    for token in (
        auth.keys.service_token(PEOPLE_SYNC, AUTH_SERVICE),
        auth.keys.user_token(PEOPLE_SYNC, organization_id=admin.organization_id),
    ):
        answer = await auth.client.get("/api/v1/connections", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
