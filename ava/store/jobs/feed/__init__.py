"""The feed: what waits in the windows and for permits of limits, and whose jobs are next."""
