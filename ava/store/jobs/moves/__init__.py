"""The moves of jobs: each is one guarded statement."""
