"""The fault suite: real servers and processes, each broken in every way we know, under a load whose effects are known."""
