"""The handlers that come with the system. Importing this package declares them, as `AVA_HANDLERS=workers` does."""

from workers import csv_summary, http_request, incident_notify, sleep

__all__ = ["csv_summary", "http_request", "incident_notify", "sleep"]
