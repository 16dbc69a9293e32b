"""`python -m sync_harness.scaled`: people-sync, with the pauses between its attempts scaled as the rest of time is."""

from functools import partial
from typing import Any

from pco_client import client
from people_sync.config import Settings
from people_sync.main import create_app
from servicekit.app import run


def scale_time() -> None:
    """For this process: a tenth of the pauses that the product makes."""
    scaled: Any = partial(client.Retries, wait_initial=0.05, wait_max=1.0)
    client.Retries = scaled  # type: ignore[misc]


if __name__ == "__main__":
    scale_time()
    run(Settings, create_app)
