"""Statements on jobs: one function per state transition or read."""
