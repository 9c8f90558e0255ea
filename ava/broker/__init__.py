"""The broker: Celery's application, publishing, and remote control."""
