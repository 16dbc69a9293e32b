"""The only public service: platform API, live updates, console."""
