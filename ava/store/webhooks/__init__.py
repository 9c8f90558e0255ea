"""Statements on webhook endpoints, events and deliveries."""
