"""Prometheus metrics: the counters of each process, and those of the whole system read from the database.

A read at a scrape costs the same with ten million jobs: it counts up to a bound.
"""
