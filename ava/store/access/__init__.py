"""Credentials: API keys and sessions."""
