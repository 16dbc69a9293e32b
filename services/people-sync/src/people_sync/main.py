"""people-sync: the directory and its two-way sync with Planning Center People."""

from typing import Any

from fastapi import FastAPI

from people_sync.api import (
    bulk,
    differences,
    erasures,
    families,
    files,
    held,
    kept_out,
    members,
    merged,
    plans,
    proof,
    runs,
    settings,
    status,
    syncs,
    undo,
)
from people_sync.config import Settings
from people_sync.messaging.connections import connections
from people_sync.messaging.deliveries import deliveries
from people_sync.messaging.resolutions import resolutions
from people_sync.messaging.subscriptions import subscriptions
from people_sync.resources import open_resources
from people_sync.storage.runs import RUNS
from people_sync.storage.sync_tables import Change
from people_sync.storage.tables import Base
from people_sync.usecases import held_bulk, rounds
from people_sync.usecases.refresh_job import work_off
from people_sync.usecases.refreshes import REFRESHES
from people_sync.usecases.run.story import carry_out
from servicekit.app import create_service
from servicekit.loops import Loop
from synckit.rounds import ROUND_SECONDS, rounds_of


def create_app(service: Settings, **overrides: Any) -> FastAPI:
    """The service. `overrides`: a clock or a span processor, in tests."""
    return create_service(
        service,
        metadata=Base.metadata,
        routers=[
            module.router
            for module in (
                status,
                members,
                families,
                files,
                kept_out,
                erasures,
                differences,
                bulk,
                runs,
                plans,
                proof,
                undo,
                held,
                merged,
                settings,
                syncs,
            )
        ],
        subscribers=[connections, resolutions, deliveries, subscriptions],
        workers=[
            service.worker(RUNS.job, carry_out, urgent_slots=1),
            service.refresh_worker(REFRESHES.job, work_off),
            service.worker(held_bulk.KIND, held_bulk.carry_out),
        ],
        loops=[
            *rounds_of(RUNS, Change, REFRESHES),
            Loop("schedule", rounds.start_due, every=15, longest_round=ROUND_SECONDS),
            Loop("proofs", rounds.prove_due, every=15, longest_round=ROUND_SECONDS),
            Loop("gaps", rounds.close_gaps, every=5, longest_round=ROUND_SECONDS),
            Loop("decisions", rounds.queue_decisions, every=10),
            Loop("old answers", rounds.forget_answers, every=600),
            Loop("unanswered plans", rounds.end_unanswered, every=15, longest_round=ROUND_SECONDS),
        ],
        resources=open_resources,
        body_limits={"/api/v1/people/bulk": 8 * 1024 * 1024},
        texts_judged=["/api/v1/people/bulk"],
        **overrides,
    )
