"""Celery's own integration tests, unpacked from its source distribution, against AVA Jobs."""
