"""Rules of jobs: their records, states, priorities, retries, messages, and what a job waits for."""
