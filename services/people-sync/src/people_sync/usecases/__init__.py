"""What people-sync does, one module per thing."""
