"""Kafka subscriptions: fact, use case."""
