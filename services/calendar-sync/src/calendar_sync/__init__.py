"""Platform events and their links to Planning Center Calendar."""
