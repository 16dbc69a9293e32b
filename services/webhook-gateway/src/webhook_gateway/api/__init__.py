"""HTTP routes: the platform API, the live stream, the console."""
