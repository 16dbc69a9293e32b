"""Progress reports must never keep the work from ending."""

import asyncio
from typing import Any, cast

import pytest
from sqlalchemy.exc import PendingRollbackError

from servicekit.testing.time import PATIENCE_SECONDS
from synckit import report
from synckit.progress import Pace
from synckit.sentences import is_of_limit, waiting_for_limit


class Asking:
    """A report cancelled during a statement, for which SQLAlchemy raises an error of the rollback."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def pace(self) -> Pace | None:
        again = self.asked.is_set()
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if again:
                raise
            raise PendingRollbackError from None
        return None


async def test_a_cancellation_that_becomes_a_database_error_ends_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "EVERY_SECONDS", 0)
    asking, anything = Asking(), cast("Any", None)
    job = cast("Any", type("Job", (), {"id": "run"}))
    made: report.Report[Any, Any] = report.Report(
        product=anything,
        job=job,
        requests=anything,
        pace=asking.pace,
        requests_left=anything,
        look_ahead=anything,
        counts=anything,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with report.reporting(made):
            await asking.asked.wait()


def test_a_wait_for_the_limit_is_reported_with_its_time() -> None:
    assert waiting_for_limit(0.2, 100, 20).endswith("1 s to go.")
    assert waiting_for_limit(12.4, 100, 20.0) == "Planning Center allows 100 requests in 20 s; 12 s to go."
    assert is_of_limit(waiting_for_limit(12.4, 100, 20.0))
    assert not is_of_limit(None)
