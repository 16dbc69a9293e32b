"""auth-service: connections to Planning Center, grants and access leases."""

from typing import Any

from fastapi import FastAPI

from auth_service.api import connections, leases
from auth_service.config import Settings
from auth_service.messaging.subscriptions import subscriptions
from auth_service.resources import open_resources
from auth_service.storage.tables import Base
from auth_service.usecases import rounds
from servicekit.app import create_service
from servicekit.loops import Loop


def create_app(settings: Settings, **overrides: Any) -> FastAPI:
    """The service. `overrides`: a clock or a span processor, in tests."""
    return create_service(
        settings,
        metadata=Base.metadata,
        routers=[connections.router, leases.router],
        subscribers=[subscriptions],
        loops=[
            # No interval: the round itself sleeps until the bell or its poll.
            Loop("disconnects", rounds.disconnects, every=0, longest_round=300),
            Loop("grant care", rounds.grant_care, every=settings.grant_care_every_seconds, longest_round=3600),
        ],
        resources=open_resources,
        **overrides,
    )
