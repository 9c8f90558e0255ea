"""The feed: decide which jobs of the backlog are published next, and which get permits."""
