"""Schedules: cron patterns, time zones and firings."""
