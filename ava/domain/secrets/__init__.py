"""Secrets: sealed at rest, and replaced in texts."""
