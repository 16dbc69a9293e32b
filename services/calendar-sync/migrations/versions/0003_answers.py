"""Answers that are kept for a repeat with the same `Idempotency-Key`."""

from servicekit.db.migrations import create_kept_answers

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    create_kept_answers()
