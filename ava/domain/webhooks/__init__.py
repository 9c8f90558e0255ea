"""Outbound webhooks: endpoints and events."""
