"""Backchat: an async WebSocket server for chat sessions that can be taken back."""

__version__ = "0.1.0"
