"""What the gateway does, one module per thing."""
