"""The duties that mend whatever stands still."""
