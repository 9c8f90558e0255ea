"""Statements on jobs: one function per move or read."""
