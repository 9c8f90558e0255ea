"""The broker: Celery's application, publishing, remote control, and wake-ups of webhook senders."""
