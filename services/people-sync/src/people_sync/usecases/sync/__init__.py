"""A sync run, phase by phase: pull, compare, apply, push, finish. `work` tells the story."""
