"""A job that somebody waits for goes first; the index of jobs that are due.

Revision ID: 0012
Revises: 0010
"""

from servicekit.migrations import put_urgent_jobs_first

revision = "0012"
down_revision = "0010"


def upgrade() -> None:
    put_urgent_jobs_first()
