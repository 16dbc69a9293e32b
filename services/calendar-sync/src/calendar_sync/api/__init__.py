"""HTTP routes: parse, use case, render."""
