"""Events in: subscriptions, hooks, what arrived at them, and events."""
