"""A node: one Celery worker process (the parent) and its children, which run handlers."""
