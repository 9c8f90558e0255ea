"""The dispatcher: duties that repeat, such as feeding the broker, rescuing runs and deleting old data."""
