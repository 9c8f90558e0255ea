"""The making of jobs: what every door through which jobs are made has in common."""
