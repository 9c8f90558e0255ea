"""Reads of jobs for clients and the dashboard."""
