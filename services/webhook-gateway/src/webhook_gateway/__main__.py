"""`python -m webhook_gateway` serves; `python -m webhook_gateway migrate` brings the database up to date."""

from servicekit.app import run
from webhook_gateway.config import Settings
from webhook_gateway.main import create_app

if __name__ == "__main__":
    run(Settings, create_app)
