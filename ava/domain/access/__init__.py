"""Callers: API keys, sessions, roles, and the form of tokens."""
