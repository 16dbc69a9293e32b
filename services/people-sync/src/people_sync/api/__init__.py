"""HTTP: parse, use case, render."""
