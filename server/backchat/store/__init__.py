"""Where events and messages are committed."""
