"""The connected person, readable without any scope: `GET /current/v2/me`."""

from dataclasses import dataclass

from pco_client.client import PlanningCenter
from pco_client.jsonapi import Document
from pco_client.query import Query


@dataclass(frozen=True, slots=True)
class Current:
    """The Current product."""

    client: PlanningCenter

    async def me(self) -> Document:
        """The connected Person `{email, first_name, last_name}` with its Organization `{name, subdomain}` included."""
        return await self.client.get("/current/v2/me", Query(include=("organization",)))
