"""The slot process of a node: many runs of concurrent workers, each a task of one event loop in the main thread."""
