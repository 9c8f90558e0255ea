"""The fault suite: break real servers and processes in every known way, under a load that records its effects."""
