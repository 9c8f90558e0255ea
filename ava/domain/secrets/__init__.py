"""Secrets: encryption at rest, and masking in strings."""
