"""Decisions: pure functions over plain values."""
