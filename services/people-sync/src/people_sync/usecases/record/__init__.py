"""The record engine: reads one member or family there, decides, takes over here, writes there, agrees."""
