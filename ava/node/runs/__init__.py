"""Runs of a node, the same in every kind of process: claims, outcomes, logs, journals and reports."""
