"""`python -m webhook_gateway` serves the door; `intake` after it takes deliveries in a process of its own;
`migrate` brings the database up to date.
"""

from servicekit.app import run
from webhook_gateway.config import Settings
from webhook_gateway.intake_app import create_intake_app
from webhook_gateway.main import create_app

if __name__ == "__main__":
    run(Settings, create_app, apps={"intake": create_intake_app})
