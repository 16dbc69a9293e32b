"""`python -m calendar_harness.nursery`: a calendar-sync that a test kills."""

from calendar_sync.config import Settings
from calendar_sync.main import create_app
from pco_simulator.journal import kind_of
from synckit.testing.nursery import run_alone

if __name__ == "__main__":
    run_alone(Settings, create_app, kind_of)
