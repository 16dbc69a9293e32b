"""The tables servicekit keeps in a service's own database: outbox, inbox, message_attempt, set_aside, job.

`service_metadata` copies them into the service's metadata; `servicekit.db.migrations` creates them.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

_metadata = MetaData(naming_convention=NAMING_CONVENTION)

_now = func.clock_timestamp()

OUTBOX = Table(
    "outbox",
    _metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", LargeBinary, comment="null is a tombstone"),
    Column("headers", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
)

INBOX = Table(
    "inbox",
    _metadata,
    Column("consumer", Text, primary_key=True, comment="the Kafka group"),
    Column("event_id", Text, primary_key=True, comment="ce_id"),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=_now, index=True),
)

MESSAGE_ATTEMPT = Table(
    "message_attempt",
    _metadata,
    Column("consumer", Text, primary_key=True, comment="the Kafka group"),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, comment="begun at this offset, and not known to have ended"),
)

SET_ASIDE = Table(
    "set_aside",
    _metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("consumer", Text, nullable=False, comment="the Kafka group"),
    Column("event_id", Text, nullable=False, comment="ce_id"),
    Column("type", Text, nullable=False, comment="ce_type, which this version of the service did not know"),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary, comment="null is a tombstone"),
    Column("headers", JSONB, nullable=False, comment="[name, value] each"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="begun, and not known to have ended"),
    Column("set_aside_at", DateTime(timezone=True), nullable=False, server_default=_now),
    UniqueConstraint("consumer", "event_id"),
    Index("ix_set_aside_type", "consumer", "type", "id"),
)

KEPT_ANSWER = Table(
    "kept_answer",
    _metadata,
    Column("organization_id", Text, primary_key=True),
    Column("key", Text, primary_key=True, comment="Idempotency-Key"),
    Column("asked", LargeBinary, nullable=False, comment="SHA-256 of method, address and body"),
    Column("status", Integer, nullable=False),
    Column("media_type", Text),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now, index=True),
)

OPEN_STATES = ("queued", "running", "waiting")
# The line breaks are PostgreSQL's own, because a test compares this text with the migrated database.
DUE_AT = literal_column(
    "(\nCASE\n    WHEN state = 'running' THEN lease_until\n    ELSE run_after\nEND)", DateTime(timezone=True)
)
"""Earliest time at which a worker may claim an open job; null while the job waits for a person. An index has exactly
this expression."""
_open = text("state IN ('queued', 'running', 'waiting')")

JOB = Table(
    "job",
    _metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("state", Text, nullable=False, server_default="queued"),
    Column("run_after", DateTime(timezone=True), server_default=_now, comment="null waits for a person"),
    Column("urgent", Boolean, nullable=False, server_default=text("false"), comment="somebody waits at a screen"),
    Column("lease_owner", Text),
    Column("lease_until", DateTime(timezone=True)),
    Column("fence", BigInteger, nullable=False, server_default="0", comment="grows with every claim"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="failures since the last progress"),
    Column("checkpoint", JSONB),
    Column("stop_requested", Boolean, nullable=False, server_default=text("false")),
    Column("error", Text),
    Column("correlation_id", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint(
        "state IN ('queued', 'running', 'waiting', 'done', 'failed', 'cancelled')",
        name="state",
    ),
    # A half-set lease cannot be stored.
    CheckConstraint(
        "(state = 'running') = (lease_owner IS NOT NULL) AND (state = 'running') = (lease_until IS NOT NULL)",
        name="lease",
    ),
    Index("uq_job_open", "kind", "organization_id", unique=True, postgresql_where=_open),
    Index("ix_job_due", "kind", "urgent", DUE_AT, postgresql_where=_open),
)
