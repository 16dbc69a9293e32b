"""Leases: allowed callers, and one refresh at Planning Center for any number of callers."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from auth_support import Auth, Facts, dsn, new_church

from contracts.http.auth import LEASE_PATH
from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, CONFLICT_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY
from servicekit.testing import eventually

MATRIX = {
    (PEOPLE_SYNC, "people"): 200,
    (PEOPLE_SYNC, "calendar"): 403,
    (CALENDAR_SYNC, "people"): 403,
    (CALENDAR_SYNC, "calendar"): 200,
    (WEBHOOK_GATEWAY, "people"): 200,
    (WEBHOOK_GATEWAY, "calendar"): 200,
    (CONFLICT_SERVICE, "people"): 401,
    (AUTH_SERVICE, "people"): 401,
}


async def test_only_named_services_each_for_its_products(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.connect(admin, "calendar")
    for (service, product), status in MATRIX.items():
        response = await auth.lease(admin, product, service=service)
        assert response.status_code == status, (service, product, response.text)
        assert ("access_token" in response.json()) == (status == 200)


async def test_wrong_identities(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    body = {"organization_id": admin.organization_id, "product": "people"}
    now = int(datetime.now(UTC).timestamp())
    tokens = {
        "nonsense": "x.y.z",
        "user": auth.keys.user_token(AUTH_SERVICE, organization_id=admin.organization_id),
        "other audience": auth.keys.service_token(PEOPLE_SYNC, CALENDAR_SYNC),
        "expired": auth.keys.service_token(PEOPLE_SYNC, AUTH_SERVICE, iat=now - 120, exp=now - 60),
        "long-lived": auth.keys.service_token(PEOPLE_SYNC, AUTH_SERVICE, exp=now + 3600),
        "other subject": auth.keys.service_token(PEOPLE_SYNC, AUTH_SERVICE, sub=WEBHOOK_GATEWAY),
    }
    for name, token in tokens.items():
        response = await auth.client.post(LEASE_PATH, json=body, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 401, name
        assert response.headers["content-type"] == "application/problem+json"
    assert (await auth.client.post(LEASE_PATH, json=body)).status_code == 401


async def test_not_connected(auth: Auth) -> None:
    response = await auth.lease(new_church())
    assert (response.status_code, response.json()["type"]) == (409, "/problems/not-connected")


async def test_fifty_at_once_over_two_processes_make_one_refresh(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    before = (await auth.lease(admin)).json()
    await auth.expire_access_token(admin)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(auth.process()) for _ in range(2)]
        auth.simulator.control.change_settings(latency_ms=300)
        auth.simulator.control.mark()
        answers = await asyncio.gather(
            *(auth.lease(admin, client=processes[number % 2].client) for number in range(50))
        )
    assert [answer.status_code for answer in answers] == [200] * 50
    assert auth.token_requests() == 1
    leases = [answer.json() for answer in answers]
    assert len({lease["access_token"] for lease in leases}) == 1
    assert leases[0]["token_generation"] > before["token_generation"]
    assert await auth.works(leases[0]["access_token"])


async def test_fifty_refused_tokens_at_once_make_one_refresh(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    before = (await auth.lease(admin)).json()
    auth.simulator.control.end_tokens(op="revoke", which="access")
    auth.simulator.control.mark()
    generation = before["token_generation"]
    answers = await asyncio.gather(*(auth.lease(admin, failed_generation=generation) for _ in range(50)))
    assert auth.token_requests() == 1
    assert {answer.json()["token_generation"] for answer in answers} == {generation + 1}
    # A caller that failed with an older token gets the present one without a refresh.
    late = await auth.lease(admin, failed_generation=generation)
    assert late.json()["access_token"] == answers[0].json()["access_token"]
    assert auth.token_requests() == 1


async def test_many_churches_refresh_at_once_without_starving_each_other(auth: Auth) -> None:
    """Refreshes hold no pooled connection while they wait for Planning Center."""
    admins = [new_church() for _ in range(3)]
    for number, admin in enumerate(admins):
        await auth.connect(admin, login=auth.login(church=number))
    for admin in admins:
        await auth.expire_access_token(admin)
    settings = auth.settings.model_copy(update={"database_pool_size": 6})
    async with auth.process(settings) as process:
        auth.simulator.control.change_settings(latency_ms=300)
        answers = await asyncio.gather(*(auth.lease(admin, client=process.client) for admin in admins * 10))
    assert {answer.status_code for answer in answers} == {200}


async def test_refresh_ahead_of_expiry_or_the_present_token_if_the_vendor_is_down(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    before = (await auth.lease(admin)).json()
    await auth.sql("UPDATE oauth_grant SET expires_at = now() + interval '200 seconds'")
    fault = auth.simulator.control.add_fault({"kind": "respond", "status": 502, "body": "html"}, path="/oauth/token")
    kept = (await auth.lease(admin)).json()
    assert kept["access_token"] == before["access_token"]
    forced = await auth.lease(admin, failed_generation=before["token_generation"])
    assert (forced.status_code, forced.headers["Retry-After"]) == (503, "5")
    auth.simulator.control.remove_fault(fault)
    renewed = (await auth.lease(admin)).json()
    assert renewed["token_generation"] > before["token_generation"]
    assert datetime.fromisoformat(renewed["expires_at"]) > datetime.now(UTC) + timedelta(hours=1)


async def test_only_a_refusal_ends_a_grant(auth: Auth) -> None:
    """After an answer that says nothing about the grant, the grant is kept and the next lease retries."""
    admin = new_church()
    await auth.connect(admin)
    for action in (
        {"kind": "respond", "status": 500, "body": "html"},
        {"kind": "respond", "status": 403, "body": "html"},
        {"kind": "respond", "status": 401, "body": "empty"},
        {"kind": "respond", "status": 429, "retry_after": 1},
        {"kind": "reset", "when": "before"},
    ):
        await auth.expire_access_token(admin)
        fault = auth.simulator.control.add_fault(action, path="/oauth/token", times=1)
        answer = await auth.lease(admin)
        auth.simulator.control.remove_fault(fault)
        assert answer.status_code == 503, (action, answer.text)
        assert (await auth.card(admin))["state"] == "connected"
    assert (await auth.lease(admin)).status_code == 200


async def test_our_own_credentials_refused_ends_nothing(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.expire_access_token(admin)
    async with auth.process(auth.settings.model_copy(update={"pco_client_id": "unknown"})) as process:
        assert (await auth.lease(admin, client=process.client)).status_code == 503
    assert (await auth.lease(admin)).status_code == 200


async def test_refused_grant_waits_for_a_reconnect_and_says_so(auth: Auth, facts: Facts) -> None:
    admin = new_church()
    await auth.connect(admin)
    lease = (await auth.lease(admin)).json()
    auth.simulator.control.end_tokens(op="revoke", which="both")
    answers = await asyncio.gather(*(auth.lease(admin, failed_generation=lease["token_generation"]) for _ in range(5)))
    assert {(each.status_code, each.json()["type"]) for each in answers} == {(409, "/problems/reconnect-required")}
    card = await auth.card(admin)
    assert card["state"] == "reconnect_required"
    assert card["reason"].startswith("Planning Center no longer accepts our sign-in. Nothing was lost")
    events = await facts.names(admin, "people:ConnectionAuthorized", "people:ReconnectRequired")
    assert (events[1].reason, events[1].version) == ("refused", 2)

    completed = await auth.connect(admin)
    assert completed["reconnected"] is True
    assert completed["card"]["generation"] == 2
    new = (await auth.lease(admin)).json()
    assert new["token_generation"] > lease["token_generation"]
    events = await facts.names(
        admin, "people:ConnectionAuthorized", "people:ReconnectRequired", "people:ConnectionAuthorized"
    )
    assert [event.version for event in events] == [1, 2, 3]


async def test_an_answer_that_was_cut_off_ends_in_reconnect(auth: Auth) -> None:
    """The new pair never reached us and the old one is dead, which the next lease finds out."""
    admin = new_church()
    await auth.connect(admin)
    await auth.expire_access_token(admin)
    auth.simulator.control.add_fault({"kind": "truncate", "mode": "length"}, path="/oauth/token", times=1)
    assert (await auth.lease(admin)).status_code == 503
    assert (await auth.card(admin))["state"] == "connected"
    assert (await auth.lease(admin)).status_code == 409
    assert "interrupted" in (await auth.card(admin))["reason"]


@pytest.mark.parametrize("replicas", [1, 2])
async def test_killed_between_the_answer_and_our_commit_ends_in_reconnect(
    auth: Auth, facts: Facts, replicas: int
) -> None:
    """Planning Center has rotated the refresh token, and the process that got the answer dies by SIGKILL."""
    admin = new_church()
    await auth.connect(admin)
    await auth.expire_access_token(admin)
    async with AsyncExitStack() as stack:
        victim = await stack.enter_async_context(auth.process())
        fault = auth.simulator.control.add_fault({"kind": "hold", "when": "after"}, path="/oauth/token", nth=1)
        asked = asyncio.create_task(auth.lease(admin, client=victim.client))
        await eventually(lambda: auth.simulator.control.fault(fault)["holding"] == 1)
        waiting = [asyncio.create_task(auth.lease(admin)) for _ in range(replicas - 1)]
        victim.kill()
        with pytest.raises(httpx.TransportError):
            await asked
        auth.simulator.control.remove_fault(fault)
        for answer in [*await asyncio.gather(*waiting), await auth.lease(admin)]:
            assert (answer.status_code, answer.json()["type"]) == (409, "/problems/reconnect-required")
    assert "interrupted" in (await auth.card(admin))["reason"]
    events = await facts.names(admin, "people:ConnectionAuthorized", "people:ReconnectRequired")
    assert events[1].reason == "lost"
    await auth.connect(admin)
    assert (await auth.lease(admin)).status_code == 200


async def test_a_pair_that_comes_after_the_end_brings_the_grant_back(auth: Auth, facts: Facts) -> None:
    """The lock is lost amid a slow refresh, and another replica ends the grant after the used token is refused."""
    admin = new_church()
    await auth.connect(admin)
    await auth.expire_access_token(admin)
    async with auth.process() as other:
        fault = auth.simulator.control.add_fault({"kind": "hold", "when": "after"}, path="/oauth/token", nth=1)
        asked = asyncio.create_task(auth.lease(admin))
        await eventually(lambda: auth.simulator.control.fault(fault)["holding"] == 1)
        await auth.lose_locks()
        refused = await auth.lease(admin, client=other.client)
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/reconnect-required")
        assert (await auth.card(admin))["state"] == "reconnect_required"
        assert auth.simulator.control.release(fault) == 1
        answer = await asked
        assert answer.status_code == 200, answer.text
        card = await auth.card(admin)
        assert (card["state"], card["reason"], card["generation"]) == ("connected", None, 1)
        assert (await auth.lease(admin, client=other.client)).json() == answer.json()
    assert await auth.works(answer.json()["access_token"])
    events = await facts.names(
        admin, "people:ConnectionAuthorized", "people:ReconnectRequired", "people:ConnectionAuthorized"
    )
    assert [(event.version, event.generation) for event in events] == [(1, 1), (2, 1), (3, 1)]


async def test_a_pair_that_comes_while_the_grant_is_being_ended_is_kept(auth: Auth, facts: Facts) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.expire_access_token(admin)
    held = await asyncpg.connect(dsn(auth.settings))
    try:
        async with auth.process() as other:
            fault = auth.simulator.control.add_fault({"kind": "hold", "when": "after"}, path="/oauth/token", nth=1)
            asked = asyncio.create_task(auth.lease(admin))
            await eventually(lambda: auth.simulator.control.fault(fault)["holding"] == 1)
            await auth.lose_locks()
            lock = "SELECT pg_advisory_lock(hashtextextended('organization:' || $1, 0))"
            await held.execute(lock, admin.organization_id)
            ending = asyncio.create_task(auth.lease(admin, client=other.client))

            async def waiting(count: int) -> bool:
                rows = await auth.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                return len(rows) >= count

            await eventually(lambda: waiting(1), because="the other is about to end the grant")
            assert auth.simulator.control.release(fault) == 1
            renewed = "SELECT 1 FROM oauth_grant WHERE organization_id = $1 AND expires_at > now()"

            async def stored_or_waiting() -> bool:
                return bool(await auth.sql(renewed, admin.organization_id)) or await waiting(2)

            await eventually(stored_or_waiting)
            await held.execute("SELECT pg_advisory_unlock_all()")
            await ending
            assert (await asked).status_code == 200
            for client in (other.client, auth.client):
                assert (await auth.lease(admin, client=client)).status_code == 200
    finally:
        await held.close()
    assert (await auth.card(admin))["state"] == "connected"
    (grant,) = await auth.sql("SELECT ended_at FROM oauth_grant WHERE organization_id = $1", admin.organization_id)
    assert grant["ended_at"] is None
    (stored,) = await auth.sql("SELECT version FROM connection WHERE organization_id = $1", admin.organization_id)

    def told() -> bool:
        newest = max(facts.of(admin), key=lambda event: event.version)
        return (newest.version, newest.state) == (stored["version"], "connected")

    await eventually(told)


async def test_killed_before_the_vendor_was_reached_loses_nothing(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.expire_access_token(admin)
    async with auth.process() as victim:
        fault = auth.simulator.control.add_fault({"kind": "hold", "when": "before"}, path="/oauth/token", nth=1)
        asked = asyncio.create_task(auth.lease(admin, client=victim.client))
        await eventually(lambda: auth.simulator.control.fault(fault)["holding"] == 1)
        victim.kill()
        with pytest.raises(httpx.TransportError):
            await asked
        # The simulator notices the closed connection a moment later; releasing earlier would carry the request out.
        await eventually(lambda: auth.simulator.control.fault(fault)["holding"] == 0)
        auth.simulator.control.remove_fault(fault)
    assert (await auth.lease(admin)).status_code == 200


async def test_a_cancelled_caller_does_not_lose_the_new_pair(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.expire_access_token(admin)
    auth.simulator.control.mark()
    fault = auth.simulator.control.add_fault({"kind": "hold", "when": "after"}, path="/oauth/token", nth=1)
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(base_url=auth.client.base_url, timeout=0.5) as impatient:
            await auth.lease(admin, client=impatient)
    assert auth.simulator.control.release(fault) == 1
    assert (await auth.lease(admin)).status_code == 200
    assert auth.token_requests() == 1


async def test_idle_grants_are_kept_alive_past_one_whose_key_is_gone(auth: Auth) -> None:
    admin, unlucky = new_church(), new_church()
    await auth.connect(admin)
    await auth.connect(unlucky, login=auth.login(church=1))
    await auth.sql("UPDATE oauth_grant SET refresh_expires_at = now() + interval '59 days'")
    await auth.sql(
        "UPDATE oauth_grant SET refresh_token = 'unreadable', refresh_expires_at = now() + interval '58 days' "
        "WHERE organization_id = $1",
        unlucky.organization_id,
    )
    await auth.sql(
        "INSERT INTO oauth_grant SELECT (jsonb_populate_record(g, jsonb_build_object('id', gen_random_uuid()))).* "
        "FROM oauth_grant g WHERE organization_id = $1",  # used by no connection
        unlucky.organization_id,
    )
    await auth.sql("UPDATE authorization_attempt SET created_at = now() - interval '2 days'")
    auth.simulator.control.mark()
    async with auth.process():
        await eventually(lambda: auth.token_requests() == 1)

        async def cared_for() -> bool:
            grant = "SELECT refresh_expires_at FROM oauth_grant WHERE organization_id = $1"
            (row,) = await auth.sql(grant, admin.organization_id)
            attempts = await auth.sql("SELECT * FROM authorization_attempt")
            return bool(row["refresh_expires_at"] > datetime.now(UTC) + timedelta(days=89) and not attempts)

        await eventually(cared_for)
