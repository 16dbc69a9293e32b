"""HTTP: the edge of a service, who asks, and what is answered."""
