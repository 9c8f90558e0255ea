"""Calls out of the house: the guarded HTTP client, and the webhooks that use it."""
