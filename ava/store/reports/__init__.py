"""Reads and counts for operators: audit, statistics, metrics, overview."""
