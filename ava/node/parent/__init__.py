"""In a node's parent process: which child runs what, which runs must stop, and whether the node makes progress."""
