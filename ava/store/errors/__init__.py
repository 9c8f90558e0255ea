"""Failed jobs, grouped by the fingerprint of their errors."""
