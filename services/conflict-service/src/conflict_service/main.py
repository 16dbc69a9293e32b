"""conflict-service: conflicts between the two sides, counted, listed and decided."""

from typing import Any

from fastapi import FastAPI

from conflict_service.api import bulk as bulk_api
from conflict_service.api import conflicts as api
from conflict_service.api import files as files_api
from conflict_service.api import rules as rules_api
from conflict_service.config import Settings
from conflict_service.messaging.conflicts import conflicts
from conflict_service.resources import open_resources
from conflict_service.storage.tables import Base
from conflict_service.usecases import bulk, rounds
from servicekit.app import create_service
from servicekit.jobs.worker import JobWorker
from servicekit.loops import Loop


def create_app(settings: Settings, **overrides: Any) -> FastAPI:
    """The service. `overrides`: a clock or a span processor, in tests."""
    return create_service(
        settings,
        metadata=Base.metadata,
        routers=[bulk_api.router, files_api.router, rules_api.router, api.router],
        subscribers=[conflicts],
        workers=[JobWorker(bulk.KIND, bulk.carry_out, concurrency=2)],
        loops=[Loop("old answers", rounds.forget_answers, every=600)],
        resources=open_resources,
        **overrides,
    )
