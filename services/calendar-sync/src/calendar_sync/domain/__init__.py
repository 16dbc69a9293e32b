"""Decisions about events: pure functions over plain values."""
