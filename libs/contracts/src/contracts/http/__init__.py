"""Shapes of the platform API (`/api/v1`), one module per owning service, and of the calls between services."""
