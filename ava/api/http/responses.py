"""Responses of JSON text."""

from __future__ import annotations

from typing import Any

from flask import Response
from werkzeug.datastructures import Headers


class _JsonText(Response):
    """A response whose headers are complete: its length is known, and a Location of it is a URI in ASCII."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """Returns the headers. Werkzeug would look for a length, and take a Location apart and put it together."""
        has_body = self.status_code >= 200 and self.status_code not in (204, 304)
        return self.headers if has_body else super().get_wsgi_headers(environ)


def as_json(text: str, status: int = 200) -> Response:
    """Returns a response of JSON text."""
    return _JsonText(text, status, mimetype="application/json")


def data(text: str, status: int = 200) -> Response:
    """Returns `{"data": …}` around the JSON text of a record."""
    return as_json(f'{{"data":{text}}}\n', status)
