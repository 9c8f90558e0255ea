"""All code that uses internals of Celery, kombu and billiard; README.md lists them."""
