"""Parsing and authorising requests; the form of responses and failures. It knows no subject of the API."""
