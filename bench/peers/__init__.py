"""Peers: alternatives to this project for draining a queue."""
