"""HTTP routes: the door, the live stream, the console."""
