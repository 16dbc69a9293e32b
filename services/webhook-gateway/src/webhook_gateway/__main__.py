"""`python -m webhook_gateway` serves the door; `intake` after it takes deliveries in a process of its own;
`migrate` brings the database up to date; `reencrypt` puts all secrets under the current key.
"""

from servicekit.app import run
from webhook_gateway.config import Settings
from webhook_gateway.intake_app import create_intake_app
from webhook_gateway.main import create_app
from webhook_gateway.usecases.reencrypt import reencrypt

if __name__ == "__main__":
    run(Settings, create_app, apps={"intake": create_intake_app}, commands={"reencrypt": reencrypt})
