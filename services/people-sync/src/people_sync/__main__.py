"""`python -m people_sync` serves; `migrate` migrates."""

from people_sync.config import Settings
from people_sync.main import create_app
from servicekit.app import run

if __name__ == "__main__":
    run(Settings, create_app)
