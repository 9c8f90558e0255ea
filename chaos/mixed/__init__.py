"""A load that mixes every kind of job, and its checker. `chaos.faults.histories` adds kills; `chaos.soak` adds none."""
