"""Messages at which a process died, and messages of types that are not known yet."""

from servicekit.db.migrations import create_consumer_tables

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    create_consumer_tables()
