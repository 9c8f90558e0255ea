"""Use cases: one transaction, then publish.

All of them raise `DatabaseUnavailable` while the database is unreachable. A use case with an idempotency key returns
the earlier result for a repeated call.
"""
