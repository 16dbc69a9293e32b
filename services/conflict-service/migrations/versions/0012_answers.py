"""A job that somebody waits for goes first; answers are kept for a repeat with the same `Idempotency-Key`."""

from servicekit.db.migrations import create_kept_answers, put_urgent_jobs_first

revision = "0012"
down_revision = "0010"


def upgrade() -> None:
    put_urgent_jobs_first()
    create_kept_answers()
