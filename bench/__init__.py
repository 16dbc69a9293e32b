"""Measurements against floors and peers: `make bench`. See README.md."""
