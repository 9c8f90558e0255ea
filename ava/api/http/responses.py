"""Responses of JSON text."""

from __future__ import annotations

from flask import Response

__all__ = ["as_json", "data"]


def as_json(text: str, status: int = 200) -> Response:
    """Returns a response of JSON text."""
    return Response(text, status, mimetype="application/json")


def data(text: str, status: int = 200) -> Response:
    """Returns `{"data": …}` around the JSON text of a record."""
    return as_json(f'{{"data":{text}}}\n', status)
