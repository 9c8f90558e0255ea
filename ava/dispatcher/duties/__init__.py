"""The duties of the active dispatcher beside the feed, one class a module."""
