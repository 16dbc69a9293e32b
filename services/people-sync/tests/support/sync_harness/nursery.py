"""`python -m sync_harness.nursery`: a people-sync that a test kills."""

from pco_simulator.journal import kind_of
from people_sync.config import Settings
from people_sync.main import create_app
from synckit.testing.nursery import run_alone

if __name__ == "__main__":
    run_alone(Settings, create_app, kind_of)
