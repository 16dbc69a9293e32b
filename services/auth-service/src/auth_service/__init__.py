"""Connections to Planning Center: consent, grants, leases, disconnect."""
