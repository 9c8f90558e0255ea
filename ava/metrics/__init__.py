"""Prometheus metrics: counters of each process, and metrics of the whole system, read from the database.

Database reads have a bound, so a scrape costs the same with ten million jobs.
"""
