"""Events in: requests to hooks, events, subscriptions. What is sent out is in `ava.domain.webhooks`."""
