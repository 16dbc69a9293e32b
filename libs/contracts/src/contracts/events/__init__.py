"""One module per topic and major version."""
