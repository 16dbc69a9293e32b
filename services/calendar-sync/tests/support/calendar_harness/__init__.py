"""calendar-sync as processes that die, each with a church and a database of its own."""
