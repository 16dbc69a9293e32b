"""Kafka: messages out by the outbox, in by subscriptions, and what becomes of those that nobody can take."""
