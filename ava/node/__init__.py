"""A node: one Celery worker process, the parent, and its children, in which handlers run."""
