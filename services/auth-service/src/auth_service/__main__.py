"""`python -m auth_service` serves; `migrate` migrates; `reencrypt` puts all secrets under the current key.

`republish` publishes every connection on auth.connection.v1 again.
"""

from auth_service.config import Settings
from auth_service.main import create_app
from auth_service.usecases.reencrypt import reencrypt
from auth_service.usecases.republish import republish
from servicekit.app import run

if __name__ == "__main__":
    run(Settings, create_app, commands={"reencrypt": reencrypt, "republish": republish})
