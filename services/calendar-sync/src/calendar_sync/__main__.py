"""`python -m calendar_sync` serves; `migrate` migrates; `republish` tells events again."""

from calendar_sync.config import Settings
from calendar_sync.main import create_app
from calendar_sync.usecases.republish import republish
from servicekit.app import run

if __name__ == "__main__":
    run(Settings, create_app, commands={"republish": republish})
