"""The included handlers. Importing this package declares them, as `AVA_HANDLERS=workers` does.

`workers.sleep` is not included, because its jobs occupy a process for up to an hour; to add it, set
`AVA_HANDLERS=workers,workers.sleep`.
"""

from workers import http_request, incident_notify

__all__ = ["http_request", "incident_notify"]
