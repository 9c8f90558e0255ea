"""Prometheus metrics: the counters of each process, and those of the whole system read from the database."""
