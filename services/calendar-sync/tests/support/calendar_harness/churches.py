"""A church here, at the API, and there, in the simulator."""

import ssl
from dataclasses import dataclass
from typing import Any, Final

import httpx
from fastapi import FastAPI
from sqlalchemy import select

from pco_simulator.testing import SimulatorProcess
from servicekit.testing import KeyRing
from servicekit.testing.facts import take

NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A client that makes its own reads all certificates of this machine: 24 ms."""
CALENDAR: Final = "/api/v1/calendar"
NOBODY: Final = "http://127.0.0.1:1"
REDIRECT: Final = "https://platform.example/callback"
PLATFORM: Final = ("platform", "secret")
COFFEE: Final = {
    "title": "Coffee after church",
    "starts_at": "2026-03-01T10:30:00-05:00",
    "ends_at": "2026-03-01T11:30:00-05:00",
    "time_zone": "America/New_York",
    "location": "Hall",
    "recurrence": "FREQ=WEEKLY;COUNT=4",
}


class Church:
    """One organization's admin at the API, and its rows."""

    def __init__(self, app: FastAPI, keys: KeyRing, organization_id: str = "org-1", role: str = "admin") -> None:
        self.app = app
        self.organization_id = organization_id
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://calendar-sync",
            headers=keys.user_headers("calendar-sync", organization_id=organization_id, roles=(role,)),
        )

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        answer = await self.http.request(method, CALENDAR + path, json=body, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def add(self, **values: Any) -> dict[str, Any]:
        added: dict[str, Any] = await self.call("POST", "/events", COFFEE | values, status=201)
        return added

    async def faults(self, method: str, path: str, body: Any) -> dict[str, str]:
        problem = await self.call(method, path, body, status=422)
        return {one["field"].removeprefix("body."): one["message"] for one in problem["errors"]}

    async def occurrences(self, **query: Any) -> list[dict[str, Any]]:
        """All pages of a window."""
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next": None}
        while page["next"] or not found:
            params = query | ({"after": page["next"]} if page["next"] else {})
            page = await self.call("GET", "/occurrences", params=params)
            found += page["items"]
            if page["next"] is None:
                break
        return found

    async def facts(self) -> list[tuple[str, str, Any]]:
        """Takes what is in the outbox: (type, key, body), body None for a tombstone."""
        return await take(self.app.state.runtime.sessions)

    async def rows(self, table: Any) -> list[Any]:
        async with self.app.state.runtime.sessions.begin() as session:
            found = await session.scalars(select(table).where(table.organization_id == self.organization_id))
            return list(found.all())

    async def history(self, event: dict[str, Any]) -> list[tuple[str, Any, Any]]:
        """Oldest first."""
        items = (await self.call("GET", f"/events/{event['id']}/history"))["items"]
        return [(one["field"], one["old"], one["new"]) for one in reversed(items)]


@dataclass(frozen=True, slots=True)
class There:
    """A church in the simulator, with a token of its administrator."""

    id: str
    admin_id: str
    token: str


def token_of(simulator: SimulatorProcess, church: dict[str, Any]) -> There:
    """The administrator of a church allows our application everything."""
    admin = next(one["person_id"] for one in church["logins"] if one["organization_administrator"])
    asked = {"client_id": PLATFORM[0], "redirect_uri": REDIRECT, "response_type": "code", "scope": "calendar"}
    form = {**asked, "login": f"{church['id']}:{admin}", "decision": "allow"}
    answer = httpx.post(f"{simulator.base_url}/oauth/authorize", data=form, verify=NO_TLS)
    code = httpx.URL(answer.headers["location"]).params["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    granted = httpx.post(f"{simulator.base_url}/oauth/token", data=form, auth=PLATFORM, verify=NO_TLS)
    assert granted.status_code == 200, granted.text
    return There(church["id"], admin, granted.json()["access_token"])
