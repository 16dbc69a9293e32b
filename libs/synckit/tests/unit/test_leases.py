"""auth-service's answers to a lease, as seen by Planning Center's client."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from contracts.http.auth import LEASE_PATH
from contracts.values import CALENDAR, CALENDAR_SYNC
from pco_client.errors import LeaseUnavailable
from servicekit.testing.keys import KeyRing
from synckit.errors import NotConnected
from synckit.leases import Leases
from synckit.settings import SyncSettings

GRANTED = {
    "access_token": "token",
    "expires_at": datetime(2026, 11, 30, 12, tzinfo=UTC).isoformat(),
    "token_generation": 3,
    "connection_generation": 2,
    "pco_organization_id": "77",
    "pco_person_id": "5",
}


class Settings(SyncSettings):
    service_name = CALENDAR_SYNC


class AuthService:
    """Gives the same answer to every lease, and records the requests."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body
        self.asked: list[Any] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == LEASE_PATH
        self.asked.append(json.loads(request.content))
        if self.status == 0:
            raise httpx.ConnectError("away", request=request)
        return httpx.Response(self.status, json=self.body)


def leases(auth: AuthService) -> Leases:
    settings = KeyRing().settings(
        Settings,
        database_url="postgresql+asyncpg://nobody@127.0.0.1/none",
        kafka="127.0.0.1:1",
        auth_service_url="http://auth.test",
    )
    return Leases(httpx.AsyncClient(transport=httpx.MockTransport(auth.answer)), settings, CALENDAR, "org-1", "77")


@pytest.mark.asyncio
async def test_a_lease_names_the_product_and_the_failed_generation() -> None:
    auth = AuthService(200, GRANTED)
    lease = await leases(auth).lease(2)
    assert (lease.token.reveal(), lease.generation, lease.pco_user_id) == ("token", 3, "77/5")
    assert auth.asked == [{"organization_id": "org-1", "product": CALENDAR, "failed_generation": 2}]


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [404, 409])
async def test_without_a_grant_the_product_is_not_connected(status: int) -> None:
    with pytest.raises(NotConnected, match="Planning Center Calendar is not connected"):
        await leases(AuthService(status, {})).lease(None)


@pytest.mark.asyncio
async def test_a_grant_of_another_organization_counts_as_none() -> None:
    with pytest.raises(NotConnected):
        await leases(AuthService(200, GRANTED | {"pco_organization_id": "78"})).lease(None)


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [0, 401, 500, 503])
async def test_an_auth_service_that_cannot_answer_is_waited_for(status: int) -> None:
    with pytest.raises(LeaseUnavailable):
        await leases(AuthService(status, {})).lease(None)
