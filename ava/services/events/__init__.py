"""The use cases of what comes in: events, subscriptions and hooks."""
