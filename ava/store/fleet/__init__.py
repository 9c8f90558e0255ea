"""Nodes and the workers that they announce."""
