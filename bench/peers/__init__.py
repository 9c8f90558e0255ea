"""Peers: what a user could choose instead of this project to drain a queue."""
