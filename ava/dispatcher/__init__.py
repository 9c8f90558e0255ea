"""The dispatcher: periodic duties such as feeding the broker, rescuing runs and deleting old data."""
