"""`python -m calendar_sync` serves; `python -m calendar_sync migrate` migrates."""

from calendar_sync.config import Settings
from calendar_sync.main import create_app
from servicekit.app import run

if __name__ == "__main__":
    run(Settings, create_app)
