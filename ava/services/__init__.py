"""Use cases: one transaction, then publish."""
