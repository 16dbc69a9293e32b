"""calendar-sync: so far its database, health, settings and the state of connections."""

from typing import Any

from fastapi import FastAPI

from calendar_sync.api import settings as api
from calendar_sync.config import Settings
from calendar_sync.messaging.connections import connections
from calendar_sync.storage.tables import Base
from servicekit.app import create_service


def create_app(settings: Settings, **overrides: Any) -> FastAPI:
    """The service. `overrides`: a clock or a span processor, in tests."""
    return create_service(
        settings, metadata=Base.metadata, routers=[api.router], subscribers=[connections], **overrides
    )
