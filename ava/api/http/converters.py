"""How ids stand in paths."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import BaseConverter

__all__ = ["install"]


class _JobIds(BaseConverter):
    """A job's id, or what looks like one; so `/jobs/bulk` is no job, and a GET of it is told what is allowed there."""

    regex = r"job_[0-9a-z_]{1,60}"


def install(app: Flask) -> None:
    """Make the converters known, before the routes that use them."""
    app.url_map.converters["job"] = _JobIds
