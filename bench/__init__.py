"""Benchmarks: AVA Jobs and a simple Flask, SQLAlchemy and Celery baseline, on the same servers, in the same run."""
