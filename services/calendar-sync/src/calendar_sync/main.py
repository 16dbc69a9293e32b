"""calendar-sync: platform events, and their links to Planning Center Calendar."""

from typing import Any

from fastapi import FastAPI

from calendar_sync.api import bulk, events, feed, files, links, occurrences, runs, settings, status, syncs, there
from calendar_sync.config import Settings
from calendar_sync.messaging.connections import connections
from calendar_sync.messaging.deliveries import deliveries
from calendar_sync.messaging.subscriptions import subscriptions
from calendar_sync.resources import open_resources
from calendar_sync.storage.runs import RUNS
from calendar_sync.storage.tables import Base, Change
from calendar_sync.usecases import polling, rounds
from calendar_sync.usecases.refresh_job import work_off
from calendar_sync.usecases.refreshes import REFRESHES
from calendar_sync.usecases.runs import carry_out
from servicekit.app import create_service
from servicekit.jobs.worker import JobWorker
from servicekit.loops import Loop
from synckit.rounds import ROUND_SECONDS, rounds_of


def workers(service: Settings) -> list[JobWorker]:
    """Syncs of all events, of single ones, and checks. A person waits at a screen for the first two."""
    return [
        service.worker(RUNS.job, carry_out, urgent_slots=1),
        service.refresh_worker(REFRESHES.job, work_off),
        service.worker(polling.KIND, polling.poll),
    ]


def create_app(service: Settings, **overrides: Any) -> FastAPI:
    """The service. `overrides`: a clock or a span processor, in tests."""

    return create_service(
        service,
        metadata=Base.metadata,
        routers=[
            feed.readers,
            *(
                module.router
                for module in (settings, feed, files, status, there, links, syncs, runs, events, occurrences, bulk)
            ),
        ],
        subscribers=[connections, deliveries, subscriptions],
        workers=workers(service),
        loops=[
            *rounds_of(RUNS, Change, REFRESHES),
            Loop("gaps", rounds.close_gaps, every=5, longest_round=ROUND_SECONDS),
            Loop("checks", rounds.start_checks, every=5, longest_round=ROUND_SECONDS),
        ],
        resources=open_resources,
        body_limits={"/api/v1/calendar/bulk": 8 * 1024 * 1024},
        texts_judged=["/api/v1/calendar/bulk"],
        **overrides,
    )
