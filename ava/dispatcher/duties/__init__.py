"""The dispatcher's duties, except the feed. A duty that has state between its calls is a class."""
