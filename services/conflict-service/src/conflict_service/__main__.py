"""`python -m conflict_service` serves; `migrate` migrates; `republish` publishes conflicts and open decisions again."""

from conflict_service.config import Settings
from conflict_service.main import create_app
from conflict_service.usecases.republish import republish
from servicekit.app import run

if __name__ == "__main__":
    run(Settings, create_app, commands={"republish": republish})
