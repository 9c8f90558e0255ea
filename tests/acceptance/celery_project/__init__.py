"""A project of Celery's, as its manual writes one: 30 tasks, which run here and on plain Celery side by side."""
