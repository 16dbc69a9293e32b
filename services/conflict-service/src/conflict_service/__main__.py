"""`python -m conflict_service` serves; `python -m conflict_service migrate` migrates."""

from conflict_service.config import Settings
from conflict_service.main import create_app
from servicekit.app import run

if __name__ == "__main__":
    run(Settings, create_app)
