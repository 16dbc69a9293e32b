"""people-sync: the directory and its two-way sync with Planning Center People."""

from typing import Any, Final

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
from people_sync.messaging.resolutions import resolutions
from people_sync.resources import open_resources
from people_sync.storage.runs import RUNS
from people_sync.storage.tables import Base
from people_sync.usecases import held_bulk, rounds
from people_sync.usecases.refresh_job import work_off
from people_sync.usecases.refreshes import REFRESHES
from people_sync.usecases.run.story import carry_out
from servicekit.app import create_service
from servicekit.jobs.worker import JobWorker
from servicekit.loops import Loop

ROUND_SECONDS: Final = 600.0
"""For a round over every church: thousands can be due at once."""


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
        subscribers=[connections, resolutions],
        workers=[
            JobWorker(
                RUNS.job,
                carry_out,
                concurrency=service.runs_at_once,
                urgent_slots=1,
                lease_seconds=service.job_lease_seconds,
            ),
            JobWorker(
                REFRESHES.job,
                work_off,
                concurrency=service.runs_at_once,
                urgent_slots=1,
                lease_seconds=service.job_lease_seconds,
            ),
            JobWorker(
                held_bulk.KIND,
                held_bulk.carry_out,
                concurrency=service.runs_at_once,
                lease_seconds=service.job_lease_seconds,
            ),
        ],
        loops=[
            Loop("schedule", rounds.start_due, every=15, longest_round=ROUND_SECONDS),
            Loop("proofs", rounds.prove_due, every=15, longest_round=ROUND_SECONDS),
            Loop("refreshes", rounds.start_refreshes, every=2, longest_round=ROUND_SECONDS),
            Loop("decisions", rounds.queue_decisions, every=10),
            Loop("old refreshes", rounds.forget_refreshes, every=600),
            Loop("old answers", rounds.forget_answers, every=600),
            Loop("old syncs", rounds.forget_syncs, every=300),
            Loop("unanswered plans", rounds.end_unanswered, every=15, longest_round=ROUND_SECONDS),
            Loop("abandoned runs", rounds.close_abandoned, every=15, longest_round=ROUND_SECONDS),
        ],
        resources=open_resources,
        body_limits={"/api/v1/people/bulk": 8 * 1024 * 1024},
        texts_judged=["/api/v1/people/bulk"],
        **overrides,
    )
