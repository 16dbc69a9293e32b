"""conflict-service: conflicts between the two sides, counted and listed."""

from typing import Any

from fastapi import FastAPI

from conflict_service.api import conflicts as api
from conflict_service.config import Settings
from conflict_service.messaging.conflicts import conflicts
from conflict_service.storage.tables import Base
from servicekit.app import create_service


def create_app(settings: Settings, **overrides: Any) -> FastAPI:
    """The service. `overrides`: a clock or a span processor, in tests."""
    return create_service(settings, metadata=Base.metadata, routers=[api.router], subscribers=[conflicts], **overrides)
