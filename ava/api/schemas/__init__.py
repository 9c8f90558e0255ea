"""Schemas of requests and responses, one module per subject; /openapi.json is generated from them."""
