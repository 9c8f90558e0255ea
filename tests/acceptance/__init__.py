"""Real processes and real servers, killed for real."""
