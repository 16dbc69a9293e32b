"""Use cases of the gateway, one module each."""
