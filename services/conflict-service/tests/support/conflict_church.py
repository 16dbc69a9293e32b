"""An organization at conflict-service."""

import csv
import io
from typing import Any

import httpx
from conflict_support import fact, message
from fastapi import FastAPI

from conflict_service.usecases.record import record
from contracts.events.people_conflict_v1 import ConflictDetected, ConflictFact
from contracts.values import CONFLICT_SERVICE
from servicekit.testing import KeyRing, eventually

PATH = "/api/v1/conflicts"


class Church:
    """An organization's administrator, and people-sync's facts about it."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, keys: KeyRing, organization_id: str) -> None:
        self.id = organization_id
        self._app = app
        self._client = client
        self.headers = keys.user_headers(CONFLICT_SERVICE, organization_id=organization_id, name="Ada")

    async def tell(self, *facts: ConflictFact) -> None:
        for each in facts:
            async with self._app.state.runtime.sessions.begin() as session:
                await record(session, [message(each)], self._app.state.runtime.clock.now())

    async def conflicts(self, count: int, **more: Any) -> list[str]:
        ids = [f"c{number:03}" for number in range(count)]
        await self.tell(
            *(
                fact(ConflictDetected, 1, organization_id=self.id, conflict_id=one, minutes=at, **more)
                for at, one in enumerate(ids)
            )
        )
        return ids

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **query: Any) -> Any:
        answer = await self._client.request(method, f"{PATH}{path}", headers=self.headers, json=body, params=query)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def file(self, path: str, status: int = 200) -> list[dict[str, str]]:
        """The lines of a list's file."""
        answer = await self._client.get(f"{PATH}{path}", headers=self.headers)
        assert answer.status_code == status, answer.text
        return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))) if status == 200 else []

    async def show(self, answer: str, **filters: Any) -> dict[str, Any]:
        shown: dict[str, Any] = await self.call("POST", "/bulk", {"answer": answer, **filters}, status=201)
        return shown

    async def agree(self, shown: dict[str, Any]) -> dict[str, Any]:
        """Carry out a bulk answer, and wait until all conflicts are decided."""
        await self.call("POST", f"/bulk/{shown['id']}/answer", {"digest": shown["digest"]}, status=202)

        async def done() -> dict[str, Any] | None:
            found: dict[str, Any] = await self.call("GET", f"/bulk/{shown['id']}")
            return found if found["state"] == "done" else None

        found: dict[str, Any] = await eventually(done)
        return found
