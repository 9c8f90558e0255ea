"""Incoming events: subscriptions, hooks, their deliveries, and events."""
