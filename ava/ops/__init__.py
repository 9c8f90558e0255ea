"""Health and counters of processes that answer no requests."""
