"""conflict-service: conflicts between the two sides, counted, listed and decided."""

from typing import Any

from fastapi import FastAPI

from conflict_service.api import bulk as bulk_api
from conflict_service.api import conflicts as api
from conflict_service.config import Settings
from conflict_service.messaging.conflicts import conflicts
from conflict_service.resources import Resources, open_resources
from conflict_service.storage.tables import Base
from conflict_service.usecases import bulk
from servicekit.app import create_service
from servicekit.job_worker import JobWorker
from servicekit.loops import Loop
from servicekit.runtime import Runtime


async def forget_answers(runtime: Runtime, resources: Resources) -> None:
    """Let go of answers to many conflicts that were shown or given long ago."""
    async with runtime.sessions.begin() as session:
        await bulk.forget_old(session, resources.clock.now())


def create_app(settings: Settings, **overrides: Any) -> FastAPI:
    """The service. `overrides`: a clock or a span processor, in tests."""
    return create_service(
        settings,
        metadata=Base.metadata,
        routers=[bulk_api.router, api.router],
        subscribers=[conflicts],
        workers=[JobWorker(bulk.KIND, bulk.carry_out, concurrency=2)],
        loops=[Loop("old answers", forget_answers, every=600)],
        resources=open_resources,
        **overrides,
    )
