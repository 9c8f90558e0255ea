"""In a node's parent process: what runs where, what must stop, and whether the node can still do its work."""
