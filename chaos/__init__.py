"""The fault suite: real servers and processes, broken in every known way, under a load whose effects are recorded."""
