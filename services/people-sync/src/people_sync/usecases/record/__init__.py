"""The record engine: read one member or family there, decide, take over here, write there, agree."""
