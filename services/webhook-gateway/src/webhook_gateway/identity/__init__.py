"""Who signs in: the platform's identity provider and its tokens."""
