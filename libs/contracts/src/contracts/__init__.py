"""Messages, topics and HTTP shapes that cross service boundaries."""
