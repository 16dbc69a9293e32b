"""A job that somebody waits for goes first; the index of jobs that are due.

Revision ID: 0015
Revises: 0013
"""

from servicekit.migrations import put_urgent_jobs_first

revision = "0015"
down_revision = "0013"


def upgrade() -> None:
    put_urgent_jobs_first()
