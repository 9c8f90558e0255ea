"""The making of jobs: what all callers that make jobs share."""
