"""`python -m people_sync` serves; `migrate` migrates; `republish` tells records and conflicts again."""

from people_sync.config import Settings
from people_sync.main import create_app
from people_sync.usecases.republish import republish
from servicekit.app import run

if __name__ == "__main__":
    run(Settings, create_app, commands={"republish": republish})
