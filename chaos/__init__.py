"""The fault suite: real servers and processes, broken in every way we know, under a load whose effects are known."""
