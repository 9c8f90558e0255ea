"""Tasks of an author's own Celery applications, offered as workers of AVA Jobs.

`ava` finds this distribution by the entry points of the group `ava.celery_tasks`.
"""
