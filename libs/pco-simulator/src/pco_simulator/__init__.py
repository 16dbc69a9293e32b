"""A stateful Planning Center for development and tests."""
