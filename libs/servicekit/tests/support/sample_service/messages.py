"""Messages for the sample service's subscriber, and the effects they had."""

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import text

from contracts.events.auth_connection_v1 import ConnectionAuthorized, ConnectionFact
from servicekit.kafka.producer import Headers, Record
from servicekit.testing import KeyRing

TOPIC = "auth.connection.v1"


def fact(
    organization_id: str, version: int = 1, kind: type[ConnectionFact] = ConnectionAuthorized, name: str = "Grace"
) -> ConnectionFact:
    return kind(
        organization_id=organization_id,
        version=version,
        product="people",
        generation=1,
        state="connected",
        pco_organization_id="1",
        pco_organization_name=name,
        pco_person_id="2",
        occurred_at=datetime.now(UTC),
    )


def record(
    event: ConnectionFact,
    *more: tuple[str, bytes | None],
    value: bytes | None = None,
    key: str | None = None,
    content_type: str = "application/json",
    **headers: str,
) -> Record:
    ce = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid4()),
        "ce_type": type(event).__name__,
        "ce_source": "/auth-service",
        "ce_time": datetime.now(UTC).isoformat(),
        "ce_correlationid": "flow-of-the-test",
        "content-type": content_type,
    } | headers
    encoded: Headers = [*((name, text_.encode()) for name, text_ in ce.items() if text_), *more]
    return Record(
        TOPIC, (key or event.key).encode(), event.model_dump_json().encode() if value is None else value, encoded
    )


def environment(url: str, kafka: str, keys: KeyRing, **more: str) -> dict[str, str]:
    """For `python -m sample_service`."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "DATABASE_URL": url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HTTP_PORT": "0",
        "OPERATOR_PORT": "0",
        "SIGNING_KEY": keys.signing_key("people-sync"),
        "TRUSTED_KEYS": keys.trusted_keys,
        **more,
    }


async def effects(app: FastAPI, organization: str) -> list[str]:
    async with app.state.runtime.sessions() as session:
        rows = await session.execute(
            text("SELECT name || ' ' || detail FROM effect WHERE detail LIKE :like ORDER BY number"),
            {"like": f"{organization}%"},
        )
        return list(rows.scalars())
