"""The HTTP server: gunicorn's processes, their connections and request heads, without any route."""
