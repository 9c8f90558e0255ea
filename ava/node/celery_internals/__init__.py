"""Everything that leans on internals of Celery, kombu and billiard; README.md lists each."""
