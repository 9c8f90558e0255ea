"""What clients and the dashboard read of jobs."""
