"""The feed: the backlogs of the windows, the jobs that wait for permits, and their order."""
