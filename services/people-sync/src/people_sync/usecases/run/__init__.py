"""A sync run: the record engine in batches, phase by phase. Begin reading at `story`."""
