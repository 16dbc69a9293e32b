"""Planning Center's notices, handed to people-sync as webhook-gateway would, and what becomes of each."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final
from uuid import uuid4

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.values import WEBHOOK_GATEWAY
from servicekit.testing import eventually
from servicekit.testing.facts import send
from sync_harness.process import NO_TLS
from sync_harness.site import Site

NAMES: Final = (
    "people.v2.events.person_merger.created",
    *(
        f"people.v2.events.{kind}.{what}"
        for kind in ("person", "email", "phone_number", "address", "household")
        for what in ("created", "updated", "destroyed")
    ),
)
_NOWHERE: Final = "https://127.0.0.1:9/"
"""Nobody listens there: notices are taken from the vendor's list."""
_numbers = count(1)
"""Numbers in the delivery log, whatever the organization."""


async def subscribe(site: Site, base_url: str) -> None:
    """Subscribe to every event about people, as the church's administrator."""
    async with httpx.AsyncClient(
        base_url=base_url,
        auth=site.church.secret,
        headers={"X-PCO-API-Version": "2022-10-20", "User-Agent": "notices (notices@example.org)"},
        verify=NO_TLS,
    ) as client:
        for name in NAMES:
            attributes = {"name": name, "url": _NOWHERE, "active": True}
            body = {"data": {"type": "WebhookSubscription", "attributes": attributes}}
            answer = await client.post("/webhooks/v2/webhook_subscriptions", json=body)
            assert answer.status_code == 201, answer.text


def received(site: Site, hint: dict[str, Any], **other: Any) -> WebhookReceived:
    """A notice of the vendor's list as webhook-gateway tells of it."""
    document = json.loads(hint["payload"])
    data = document["data"]
    people = {
        name: (data.get("relationships", {}).get(name, {}).get("data") or {}).get("id")
        for name in ("person", "person_to_keep", "person_to_remove")
    }
    return fact(
        site,
        **{
            "delivery_id": hint["uuid"],
            "name": hint["name"],
            "resource_type": data["type"],
            "resource_id": str(data["id"]),
            "person_id": people["person"] or people["person_to_keep"],
            "merged_person_id": people["person_to_remove"],
            "event_time": document.get("meta", {}).get("event_time"),
            **other,
        },
    )


def fact(site: Site, **values: Any) -> WebhookReceived:
    """A notice; by default that a person was updated just now."""
    return WebhookReceived.model_validate(
        {
            "organization_id": site.organization_id,
            "version": next(_numbers),
            "delivery_id": str(uuid4()),
            "product": "people",
            "generation": 1,
            "name": "people.v2.events.person.updated",
            "resource_type": "Person",
            "received_at": datetime.now(UTC),
            **values,
        }
    )


@dataclass(slots=True)
class Notices:
    """The way of notices from a church to people-sync, and back to the delivery log."""

    site: Site
    producer: AIOKafkaProducer
    outcomes: "Outcomes"
    last: int = 0
    told: list[WebhookReceived] = field(default_factory=list)

    def new(self) -> list[WebhookReceived]:
        """The vendor's notices since the last call, in its order."""
        found = self.site.control.deliveries(self.site.church.id, after=self.last, limit=10_000)
        self.last = max([self.last, *(int(hint["id"]) for hint in found)])
        return [received(self.site, hint) for hint in found]

    async def tell(self, those: Iterable[WebhookReceived]) -> list[WebhookReceived]:
        """Publish notices."""
        those = list(those)
        for begin in range(0, len(those), 500):
            some = those[begin : begin + 500]
            await asyncio.gather(*(send(self.producer, one, WEBHOOK_GATEWAY) for one in some))
        self.told += those
        return those

    async def deliver(self) -> list[dict[str, Any]]:
        """Publish the new notices, and wait until each is answered; gives the answers in the same order."""
        return await self.answered(await self.tell(self.new()))

    async def answered(self, those: Sequence[WebhookReceived]) -> list[dict[str, Any]]:
        """The answers to these."""
        return await self.outcomes.of(those)


@dataclass(slots=True)
class Outcomes:
    """What webhook-gateway is told about notices."""

    found: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    async def of(self, those: Sequence[WebhookReceived], *, within: float = 60.0) -> list[dict[str, Any]]:
        """Wait for the answers to these."""

        def all_() -> bool:
            return all(one.version in self.found for one in those)

        try:
            await eventually(all_, within=within)
        except AssertionError:
            missing = [one.model_dump_json() for one in those if one.version not in self.found]
            raise AssertionError(f"not answered: {missing}") from None
        answers = [self.found[one.version][0] for one in those]
        for one, answer in zip(those, answers, strict=True):
            assert (answer["delivery_id"], answer["organization_id"]) == (one.delivery_id, one.organization_id)
            assert answer["by"] == "people-sync"
            assert answer["sentence"], answer
        return answers


@asynccontextmanager
async def listening(kafka: str) -> AsyncIterator[Outcomes]:
    """Collect all outcomes from now on."""
    made = Outcomes()
    async with AIOKafkaConsumer(
        "webhooks.outcome.v1", bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as consumer:

        async def listen() -> None:
            known: set[bytes] = set()
            async for message in consumer:
                # A relay that dies after Kafka's answer repeats a message, with its id.
                event_id = dict(message.headers)["ce_id"]
                if message.value is not None and event_id not in known:
                    known.add(event_id)
                    body = json.loads(message.value)
                    made.found.setdefault(body["version"], []).append(body)

        task = asyncio.create_task(listen())
        yield made
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
