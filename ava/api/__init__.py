"""The HTTP API: a Flask application behind gunicorn."""
