"""Rules of schedules: patterns, time zones, firings."""
