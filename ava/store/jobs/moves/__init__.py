"""The moves of jobs: each is one guarded statement.

It names the state from which it starts, so that of two moves in the same moment one changes no row. A statement that a
run makes also compares `run_no` and `claim_id`, which are the fence. What a move sets is a text in `rules`.
"""
