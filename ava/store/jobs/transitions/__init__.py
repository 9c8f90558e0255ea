"""State transitions of jobs: each is one guarded statement.

It names the status it starts from, so only one of two concurrent transitions changes the row. A run's own transitions
also compare `run_no` and `claim_id`, the fencing token. `rules` has the conditions and SET clauses.
"""
