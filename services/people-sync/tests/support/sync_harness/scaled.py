"""`python -m sync_harness.scaled`: people-sync with scaled pauses between attempts."""

from functools import partial
from typing import Any

from pco_client import client
from people_sync import main
from people_sync.config import Settings
from servicekit.app import run
from servicekit.jobs.worker import TURN_SECONDS, JobWorker


def scale_time() -> None:
    """Scale this process's pauses and turns to a tenth of the product's."""
    scaled: Any = partial(client.Retries, wait_initial=0.05, wait_max=1.0)
    client.Retries = scaled  # type: ignore[misc]
    worker: Any = partial(JobWorker, turn_seconds=TURN_SECONDS / 10)
    main.JobWorker = worker  # type: ignore[attr-defined]


if __name__ == "__main__":
    scale_time()
    run(Settings, main.create_app)
