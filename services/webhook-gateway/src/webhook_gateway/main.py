"""Wiring of webhook-gateway."""

import logging
from typing import Any

from fastapi import FastAPI

from contracts.routes import ROUTES
from contracts.values import PRODUCTS
from servicekit.app import create_service
from servicekit.http.intake import DEFAULT_BODY_LIMIT
from servicekit.jobs.worker import JobWorker
from servicekit.loops import Loop
from synckit.rounds import ROUND_SECONDS
from webhook_gateway.api import console, documents, feeds, own, platform, problems, subscriptions, webhooks
from webhook_gateway.config import Settings
from webhook_gateway.messaging import live, outcomes
from webhook_gateway.messaging.connections import connections
from webhook_gateway.resources import open_resources
from webhook_gateway.storage.tables import Base
from webhook_gateway.usecases import care, replay
from webhook_gateway.usecases import subscriptions as due
from webhook_gateway.usecases.figures import FIGURES_SECONDS, measure
from webhook_gateway.usecases.published import published
from webhook_gateway.usecases.retention import forget_old
from webhook_gateway.usecases.seen import EVERY_SECONDS, forget_seen


def workers(settings: Settings) -> list[JobWorker]:
    """The care of subscriptions, and replays. A person waits at a screen for some of the care, such as the removal at
    a disconnect.
    """
    cared = [settings.worker(due.kind_of(product), care.runner(product), urgent_slots=1) for product in PRODUCTS]
    return [*cared, JobWorker(replay.KIND, replay.carry_out, concurrency=2)]


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
            subscriptions.router,
            documents.make_router(),
            problems.make_router(),
            webhooks.router,
            platform.make_router(),
            feeds.router,
            console.make_router(settings.identity_issuer),
        ],
        subscribers=[connections, outcomes.outcomes, outcomes.care, *live.subscriptions()],
        workers=workers(settings),
        loops=[
            Loop("subscription checks", due.start_due, every=5, longest_round=ROUND_SECONDS),
            Loop("keys", due.make_keys, every=60, longest_round=ROUND_SECONDS),
            Loop("seen deliveries", forget_seen, every=EVERY_SECONDS),
            Loop("delivery figures", measure, every=FIGURES_SECONDS),
            Loop("old deliveries", forget_old, every=600, longest_round=ROUND_SECONDS),
        ],
        resources=open_resources,
        published=published,
        texts_judged=["/api/v1/people/bulk", "/api/v1/calendar/bulk"],
        admit=None,
        headers=console.door_headers(settings.public_url),
        body_limits={route.path: route.max_body for route in ROUTES if route.max_body != DEFAULT_BODY_LIMIT},
        **overrides,
    )
    console.show_missing_pages(app, settings.identity_issuer)
    return app
