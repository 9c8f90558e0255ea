"""Inbound events: requests to hooks, events and subscriptions. For outbound webhooks see `ava.domain.webhooks`."""
