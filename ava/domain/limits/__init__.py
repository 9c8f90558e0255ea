"""Limits with names, rates, and the fair queue."""
