"""calendar-sync: platform events; their links to Planning Center Calendar follow."""

from typing import Any

from fastapi import FastAPI

from calendar_sync.api import bulk, events, files, occurrences, settings
from calendar_sync.config import Settings
from calendar_sync.messaging.connections import connections
from calendar_sync.resources import open_resources
from calendar_sync.storage.tables import Base
from servicekit.app import create_service


def create_app(service: Settings, **overrides: Any) -> FastAPI:
    """The service. `overrides`: a clock or a span processor, in tests."""
    return create_service(
        service,
        metadata=Base.metadata,
        routers=[module.router for module in (settings, files, events, occurrences, bulk)],
        subscribers=[connections],
        resources=open_resources,
        body_limits={"/api/v1/calendar/bulk": 8 * 1024 * 1024},
        texts_judged=["/api/v1/calendar/bulk"],
        **overrides,
    )
