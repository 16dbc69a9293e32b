"""`python -m auth_service` serves; `migrate` migrates; `reencrypt` puts all secrets under the current key."""

from auth_service.config import Settings
from auth_service.main import create_app
from auth_service.usecases.reencrypt import reencrypt
from servicekit.app import run

if __name__ == "__main__":
    run(Settings, create_app, commands={"reencrypt": reencrypt})
