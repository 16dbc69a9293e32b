"""The one public door: platform API, live updates, console."""
