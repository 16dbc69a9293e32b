"""`python -m sync_harness.scaled`: people-sync with scaled pauses between attempts."""

from people_sync.config import Settings
from people_sync.main import create_app
from servicekit.app import run
from synckit.testing.nursery import scale_time

if __name__ == "__main__":
    scale_time()
    run(Settings, create_app)
