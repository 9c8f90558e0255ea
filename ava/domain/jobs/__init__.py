"""Rules of jobs: records, states, priorities, retries, messages and waits."""
