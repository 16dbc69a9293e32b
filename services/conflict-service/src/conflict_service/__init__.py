"""Conflicts between the two sides, and decisions about them."""
