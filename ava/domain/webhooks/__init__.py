"""Rules of webhooks: endpoints and events."""
