"""A Celery project whose callers run on Celery or, with one more line, on AVA Jobs."""
