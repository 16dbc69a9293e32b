"""Planning Center Calendar v2."""
