"""Long work: rows that workers claim."""
