"""Authentication: the platform's identity provider, its tokens, and rate limits."""
