"""The functions of the dispatcher's duties, without the feed. A duty with state between its calls is a class."""
