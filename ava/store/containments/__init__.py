"""Containments: their records, the comparison of jobs with their scopes, and their progress."""
