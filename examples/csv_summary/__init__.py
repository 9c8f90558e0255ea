"""An example of a handler: it reads a CSV of any size in bounded memory, and describes its columns.

`ava dev examples.csv_summary` runs it from a clone.
"""

from .handler import csv_summary

__all__ = ["csv_summary"]
