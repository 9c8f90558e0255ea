"""Use cases of inbound events: events, subscriptions and hooks."""
