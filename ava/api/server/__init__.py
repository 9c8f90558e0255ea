"""The HTTP server: gunicorn's processes, their connections, the heads of requests. It knows no subject of the API."""
