"""Scenarios of durable functions, for every kind of worker."""
