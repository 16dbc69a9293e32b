"""Planning Center People v2."""
