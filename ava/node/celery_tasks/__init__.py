"""Tasks of an author's own Celery applications, offered as workers."""
