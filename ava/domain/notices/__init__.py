"""Notices: messages to people about events of their tenant."""
