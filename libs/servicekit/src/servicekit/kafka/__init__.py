"""Kafka: the outbox, subscriptions, and the handling of messages that cannot be processed."""
