"""Adapters to what generates replies."""
