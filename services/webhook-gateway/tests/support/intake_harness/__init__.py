"""Keys, subscriptions and signed deliveries for tests of the gateway."""

import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import httpx

from servicekit.testing.databases import Database
from servicekit.vault import Vault
from webhook_gateway.domain.signature import sign
from webhook_gateway.storage.keys import key_hash

NAMES: Final = (
    *(f"people.v2.events.person.{what}" for what in ("created", "updated", "destroyed")),
    "people.v2.events.email.updated",
    "people.v2.events.person_merger.created",
)


@dataclass
class Address:
    """An address that Planning Center calls, with the secret of each of its subscriptions."""

    id: int
    key: str
    organization_id: str
    pco_organization_id: str
    secrets: dict[str, str]
    """Secret by event name."""
    subscriptions: dict[str, UUID] = field(default_factory=dict)
    """Id by event name."""

    @property
    def path(self) -> str:
        """Where Planning Center posts to."""
        return f"/webhooks/pco/{self.key}"

    def headers(self, body: bytes, *, name: str = NAMES[1], secret: str | None = None) -> dict[str, str]:
        """The headers of a delivery, as the vendor sends them."""
        signature = sign(body, self.secrets.get(name, "") if secret is None else secret)
        return {
            "Content-Type": "application/json",
            "X-PCO-Webhooks-Name": name,
            "X-PCO-Webhooks-Authenticity": signature.decode(),
        }

    async def send(
        self, client: httpx.AsyncClient, body: bytes, *, name: str = NAMES[1], secret: str | None = None
    ) -> httpx.Response:
        """Deliver a body, signed."""
        return await client.post(self.path, content=body, headers=self.headers(body, name=name, secret=secret))


async def make_address(
    database: Database,
    vault: Vault,
    *,
    organization_id: str | None = None,
    product: str = "people",
    generation: int = 1,
    pco_organization_id: str = "9",
    names: tuple[str, ...] = NAMES,
) -> Address:
    """A key with active subscriptions, as the care of subscriptions makes them."""
    organization, key = organization_id or f"org-{uuid4()}", secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    number = await database.value(
        "INSERT INTO webhook_key (organization_id, product, generation, pco_organization_id, key_hash, sealed_key, "
        "created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
        organization,
        product,
        generation,
        pco_organization_id,
        key_hash(key),
        vault.seal(key, row=f"{organization}/{product}/{generation}"),
        now,
    )
    made = Address(number, key, organization, pco_organization_id, {name: secrets.token_hex(32) for name in names})
    for name, secret in made.secrets.items():
        made.subscriptions[name] = uuid4()
        await database.fetch(
            "INSERT INTO webhook_subscription (id, key_id, name, state, pco_id, sealed_secret, active_since, "
            "changed_at) VALUES ($1, $2, $3, 'active', $4, $5, $6, $6)",
            made.subscriptions[name],
            number,
            name,
            str(secrets.randbelow(10**6)),
            vault.seal(secret, row=str(made.subscriptions[name])),
            now,
        )
    return made


async def rotate(database: Database, vault: Vault, address: Address, name: str, *, until: datetime) -> str:
    """Give a subscription a new secret, the old one being valid until a moment. Returns the new one."""
    secret = secrets.token_hex(32)
    row = address.subscriptions[name]
    await database.fetch(
        "UPDATE webhook_subscription SET sealed_previous = sealed_secret, previous_until = $2, sealed_secret = $3 "
        "WHERE id = $1",
        row,
        until,
        vault.seal(secret, row=str(row)),
    )
    return secret


def delivery(
    *,
    resource_id: str = "77",
    resource_type: str = "Person",
    name: str = NAMES[1],
    delivery_id: str | None = None,
    organization: str | None = "9",
    **data: Any,
) -> dict[str, Any]:
    """One delivery as the vendor writes it. data: further members of the payload's `data`."""
    payload = {
        "data": {"type": resource_type, "id": resource_id, "attributes": {}, "relationships": {}, **data},
        "included": [],
        "meta": {"parent": {"id": "9", "type": "Organization"}, "event_time": "2026-01-02T00:00:00Z"},
    }
    whose = {"organization": {"data": {"type": "Organization", "id": organization}}} if organization else {}
    return {
        "id": delivery_id or str(uuid4()),
        "type": "EventDelivery",
        "attributes": {"name": name, "attempt": 1, "payload": json.dumps(payload)},
        "relationships": whose,
    }


def body_of(*deliveries: dict[str, Any]) -> bytes:
    """A body with these deliveries; with one of a person, if none is given."""
    return json.dumps({"data": list(deliveries) or [delivery()]}).encode()
