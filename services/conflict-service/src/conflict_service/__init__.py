"""Conflicts between the two sides and the decisions people take on them."""
