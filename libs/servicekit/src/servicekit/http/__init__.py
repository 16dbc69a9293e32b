"""HTTP: the edge of a service, authentication, bodies and answers."""
