"""Webhook deliveries: the process that sends events to endpoints."""
