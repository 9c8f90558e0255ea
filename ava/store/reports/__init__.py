"""Statements that only read, or count, for operators: audit, statistics, metrics, overview."""
