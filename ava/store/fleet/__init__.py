"""Statements on nodes and on the workers that they announce."""
