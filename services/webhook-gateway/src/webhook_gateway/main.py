"""Wiring of webhook-gateway."""

import logging
from typing import Any

from fastapi import FastAPI

from contracts.routes import ROUTES
from servicekit.app import create_service
from servicekit.http.intake import DEFAULT_BODY_LIMIT
from webhook_gateway.api import console, documents, feeds, own, platform, problems
from webhook_gateway.config import Settings
from webhook_gateway.identity.bearer import admit
from webhook_gateway.messaging import live
from webhook_gateway.messaging.connections import connections
from webhook_gateway.resources import open_resources
from webhook_gateway.storage.tables import Base


def create_app(settings: Settings, **overrides: Any) -> FastAPI:
    """The gateway as an ASGI app. `overrides`: a span processor, in tests."""
    # At DEBUG sse-starlette logs every event, and events hold personal data.
    logging.getLogger("sse_starlette").setLevel(logging.INFO)
    app = create_service(
        settings,
        title="Planning Center integration",
        metadata=Base.metadata,
        routers=[
            own.router,
            documents.make_router(),
            problems.make_router(),
            platform.make_router(),
            feeds.router,
            console.make_router(settings.identity_issuer),
        ],
        subscribers=[connections, *live.subscriptions()],
        resources=open_resources,
        texts_judged=["/api/v1/people/bulk", "/api/v1/calendar/bulk"],
        admit=admit,
        headers=console.door_headers(settings.public_url),
        body_limits={route.path: route.max_body for route in ROUTES if route.max_body != DEFAULT_BODY_LIMIT},
        **overrides,
    )
    console.show_missing_pages(app, settings.identity_issuer)
    return app
