"""The only sending side of Celery."""
