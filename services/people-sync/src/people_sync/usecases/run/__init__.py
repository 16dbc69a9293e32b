"""A sync run: the record engine in batches, phase by phase. `story` tells it."""
