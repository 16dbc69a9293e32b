"""Progress beside the work: it must never keep the work from ending."""

import asyncio
from typing import cast

import pytest
from sqlalchemy.exc import PendingRollbackError

from people_sync.usecases.run import report
from people_sync.usecases.run.context import RunContext


class Reporting:
    """Work whose report is ended amid a statement: SQLAlchemy then raises an error of the rollback."""

    run_id = "run"

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def pacer_state(self) -> None:
        again = self.asked.is_set()
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if again:
                raise
            raise PendingRollbackError from None


async def test_a_cancellation_that_becomes_a_database_error_ends_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "EVERY_SECONDS", 0)
    work = Reporting()
    async with asyncio.timeout(5):
        async with report.reporting(cast("RunContext", work)):
            await work.asked.wait()
