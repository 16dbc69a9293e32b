"""Tables, and queries that take a session and return plain values."""
