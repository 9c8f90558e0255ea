"""The process itself: how it starts, and what it keeps from the handlers that run in it."""
