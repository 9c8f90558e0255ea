"""The parent process of a node: track children's runs, stop runs, and check that the node makes progress."""
